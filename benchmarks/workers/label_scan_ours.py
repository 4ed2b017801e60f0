"""Steps of the benchmark of label scanning, each run in a fresh process: `label_scan_ours.py STEP ARGUMENTS`.

The answer is one JSON object on the last line of the output.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

PICTURES = 64  # files whose hard links the images are; file systems allow some 65,000 links to each
BOXES = 7.3  # per image on average, as in COCO
CLASSES = 80
BATCH = 64  # images
WARM_UP = 32  # batches after which the workers have what they need for decoding
SIZE = 64  # pixels of a decoded image's longer side


def peak_mib() -> float:
    """The most memory that this process has had so far; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def make_tree(folder: str, images: str) -> dict[str, int]:
    """Write a data set of small JPEGs and of label files with as many boxes as COCO's, and its YAML last of all."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    root = Path(folder)
    for kind in ("pictures", "images/train", "labels/train"):
        (root / kind).mkdir(parents=True)
    pictures = [str(root / "pictures" / f"{number}.jpg") for number in range(PICTURES)]
    for number, path in enumerate(pictures):
        pixels = rng.integers(0, 255, (6, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((64 + number, 48 + number // 2)).save(path)
    for number in range(int(images)):
        name = f"{number + 1:012}"
        os.link(pictures[number % PICTURES], root / "images" / "train" / f"{name}.jpg")
        count = rng.poisson(BOXES)
        classes, boxes = rng.integers(0, CLASSES, count), rng.uniform(0.1, 0.4, (count, 4)) + (0.25, 0.25, 0, 0)
        rows = zip(classes.tolist(), boxes.tolist(), strict=True)
        with open(f"{folder}/labels/train/{name}.txt", "w", encoding="utf-8") as file:
            file.write("".join(f"{label} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n" for label, (x, y, w, h) in rows))
    names = ", ".join(f"class{index}" for index in range(CLASSES))
    (root / "set.yaml").write_text(f"train: images/train\nnames: [{names}]\n", encoding="utf-8")
    return {"images": int(images)}


def imports() -> dict[str, float]:
    """Memory of a process that has read nothing yet."""
    import mgil.datasets.reading.load  # noqa: F401

    return {"peak": peak_mib()}


def scan(description: str, cache: str) -> dict[str, float]:
    """Read the labels, or open the cache."""
    from mgil.datasets.reading.config import load_data_config
    from mgil.datasets.reading.load import load_samples

    config = load_data_config(description)
    wall, cpu = time.perf_counter(), time.process_time()
    samples = load_samples(config, "train", cache_dir=Path(cache), report=lambda line: None)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": wall, "cpu": cpu, "peak": peak_mib(), "images": len(samples), "boxes": len(samples.classes)}


def stream(description: str, cache: str, workers: str) -> dict[str, object]:
    """A streamed training epoch: memory of the worker processes after the first batches and at the end."""
    import torch

    from mgil.datasets.batches.augment import AugmentConfig
    from mgil.datasets.batches.loader import TrainLoader
    from mgil.datasets.reading.config import load_data_config
    from mgil.datasets.reading.load import load_samples
    from mgil.tasks.detect.batches import DetectComposer

    torch.set_num_threads(1)
    quiet = {"report": lambda line: None}
    samples = load_samples(load_data_config(description), "train", cache_dir=Path(cache), **quiet)
    arrays = (value for value in vars(samples).values() if hasattr(value, "nbytes"))
    composer = DetectComposer(samples, SIZE, AugmentConfig())
    loader = TrainLoader(composer, BATCH, workers=int(workers), store="streamed", **quiet)
    warm = min(WARM_UP, len(loader) // 2)
    start: list[tuple[float, float]] = []
    end: list[tuple[float, float]] = []
    wall = time.perf_counter()
    for number, _ in enumerate(loader.epoch(0), start=1):
        if number == warm:
            start = workers_memory()
        if number == len(loader):
            end = workers_memory()
    wall = time.perf_counter() - wall
    return {"arrays": sum(array.nbytes for array in arrays) / 2**20, "start": start, "end": end, "wall": wall}


def workers_memory() -> list[tuple[float, float]]:
    """(USS, PSS) in MiB of each worker: memory that it alone holds, and that plus its share of what others hold too.

    Empty where the system has no /proc.
    """
    found = []
    for child in sorted(multiprocessing.active_children(), key=lambda process: process.pid or 0):
        path = Path(f"/proc/{child.pid}/smaps_rollup")
        if path.exists():
            fields = [line.split() for line in path.read_text(encoding="ascii").splitlines()[1:]]
            sizes = {name.rstrip(":"): int(size) / 1024 for name, size, *_ in fields}
            own = sum(size for name, size in sizes.items() if name.startswith("Private_"))
            found.append((own, sizes["Pss"]))
    return found


if __name__ == "__main__":
    steps = {function.__name__: function for function in (make_tree, imports, scan, stream)}
    print(json.dumps(steps[sys.argv[1]](*sys.argv[2:])))
