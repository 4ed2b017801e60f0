"""What the side-by-side benchmarks share: workers in turn, images to work on, tables, csv files and plots."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import yaml

from benchmarks.peers import FOLDER, peers_environment, peers_python
from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.image_list import list_images
from mgil.datasets.reading.labels import label_path_of
from mgil.datasets.reading.load import make_generated
from mgil.files.matplotlib_import import own_settings

ROOT = Path(__file__).resolve().parent.parent
WORKERS = ROOT / "benchmarks" / "workers"
OUTPUT = Path("runs/benchmarks")
OURS, UPSTREAM, ULTRALYTICS = "ours", "yolov5", "ultralytics"
SCRIPTS = {OURS: "ours.py", UPSTREAM: "upstream.py", ULTRALYTICS: "ultralytics_peer.py"}
CAMERA_WH = (640, 480)
CAMERA_QUALITY = 90
Row = dict[str, Any]


class Worker:
    """A project in a process of its own, asked and waited for.

    Args:
        name: one of `SCRIPTS`.
        peers: folder of the peers' environment.
        threads: that its numerical libraries may use.
        scratch: folder that it runs in, for its log and for what a peer leaves there.

    Raises:
        FileNotFoundError: a peer's environment is not there.
    """

    def __init__(self, name: str, peers: Path = FOLDER, threads: int = 1, scratch: Path | None = None) -> None:
        self.name = name
        python: Path | str | None = sys.executable if name == OURS else peers_python(peers)
        if python is None:
            raise FileNotFoundError(f"{peers}: no environment of the peers; make it with `python -m benchmarks.peers`")
        environment = dict(os.environ) if name == OURS else peers_environment(peers)
        environment["OMP_NUM_THREADS"] = str(threads)
        if name == OURS:
            environment["PYTHONPATH"] = str(ROOT)
        scratch = scratch or OUTPUT / "scratch" / name
        scratch.mkdir(parents=True, exist_ok=True)
        self.log = (scratch / "log.txt").open("a", encoding="utf-8")
        self.process = subprocess.Popen(
            [str(python), str(WORKERS / SCRIPTS[name])],
            cwd=scratch,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )

    def ask(self, call: str, **arguments: Any) -> Any:
        """Send a request and wait for its answer.

        Raises:
            RuntimeError: the worker failed; what it said is in its log.
        """
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps({"call": call, **arguments}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
            while line and not line.startswith(('{"result"', '{"error"')):  # what a library prints while it loads
                line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"{self.name}: the worker ended during {call!r}; see {self.log.name}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {call}: {answer['error']}; see {self.log.name}")
        return answer["result"]

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        self.log.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def available(names: Iterable[str], peers: Path) -> list[str]:
    """The projects that can be measured here; ours always can."""
    if peers_python(peers):
        return list(names)
    print(f"{peers} is not there: measuring ours alone. `python -m benchmarks.peers` makes it.")
    return [OURS]


def alternate(workers: Mapping[str, Worker], call: str, rounds: int, **arguments: Any) -> dict[str, list[Any]]:
    """Ask all workers in turn, `rounds` times, so that a slow moment of the machine falls on all of them."""
    answers: dict[str, list[Any]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            answers[name].append(worker.ask(call, **arguments))
    return answers


def camera_set(folder: Path, images: int) -> Path:
    """A data set of 640x480 JPEGs with the detail, the noise and the file size of a camera's, made once.

    Returns:
        Its YAML.
    """
    target = folder / f"camera{images}"
    description = target / "camera.yaml"
    if description.exists():
        return description
    for kind in ("images", "labels"):
        (target / kind / "train").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(images):
        picture = camera_picture(rng)
        name = f"{number:06d}"
        quality = [cv2.IMWRITE_JPEG_QUALITY, CAMERA_QUALITY]
        cv2.imwrite(str(target / "images" / "train" / f"{name}.jpg"), picture, quality)
        centres, sizes = rng.uniform(0.2, 0.8, (7, 2)), rng.uniform(0.02, 0.3, (7, 2))
        rows = [" ".join(map(str, [rng.integers(80), *row.round(5)])) for row in np.hstack([centres, sizes])]
        (target / "labels" / "train" / f"{name}.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return write_description(target, "camera.yaml", {index: f"class{index}" for index in range(80)})


def camera_picture(rng: np.random.Generator) -> np.ndarray:
    """A picture with structure at every scale, edges and sensor noise: (480, 640, 3) uint8."""
    width, height = CAMERA_WH
    picture = np.zeros((height, width, 3), np.float32)
    for octave in range(1, 8):  # amplitude falls with frequency, as in photographs
        grid = rng.normal(0, 1, (3 * 2**octave, 4 * 2**octave, 3)).astype(np.float32)
        picture += cv2.resize(grid, CAMERA_WH, interpolation=cv2.INTER_CUBIC) * 45 / 1.7**octave
    picture = np.clip(picture + 118, 0, 255)
    for _ in range(25):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(4, 80)), int(rng.integers(4, 80)))
        colour = tuple(float(value) for value in rng.integers(0, 256, 3))
        cv2.ellipse(picture, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
    return np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)


def yolo_copy(data: str, folder: Path, copies: int = 1) -> Path:
    """A data set's train and val split as folders of images and text labels, which the peers may write caches into.

    Args:
        data: its YAML; labels are text files beside the images.
        folder: where the copy goes.
        copies: how often each image is to be there.

    Returns:
        The copy's YAML.
    """
    config = load_data_config(data)
    origin = hashlib.sha256(str(config.yaml_path).encode()).hexdigest()[:8]  # sets of one name are not mixed up
    target = folder / f"{config.yaml_path.stem}x{copies}-{origin}"
    description = target / config.yaml_path.name
    if description.exists():
        return description
    make_generated(config)
    splits = {"train": config.train, "val": config.val}
    if config.val == config.train:
        del splits["val"]
    for split, sources in splits.items():
        for kind in ("images", "labels"):
            (target / kind / split).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(map(Path, list_images(sources, config.bases)[0])):
            label = Path(label_path_of(str(image)))
            for copy in range(copies):
                name = f"{number:06d}_{copy}"  # numbered: folders may hold files of one name
                shutil.copyfile(image, target / "images" / split / f"{name}{image.suffix}")
                if label.exists():
                    shutil.copyfile(label, target / "labels" / split / f"{name}.txt")
    val = "val" if "val" in splits else "train"
    return write_description(target, description.name, dict(enumerate(config.names)), val)


def write_description(folder: Path, name: str, names: Mapping[int, str], val: str = "train") -> Path:
    """The data set's YAML, last of all, so that its presence says that the set is whole."""
    path = folder / name
    content = {"path": str(folder.absolute()), "train": "images/train", "val": f"images/{val}", "names": dict(names)}
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def machine() -> str:
    """What the figures were measured on."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"


def median(values: Iterable[float]) -> float:
    """Median as a float."""
    return float(statistics.median(values))


def show(title: str, rows: Sequence[Row], path: Path) -> None:
    """Print rows as a table and write them as csv."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = list(dict.fromkeys(key for row in rows for key in row))
    table = [header, *([_cell(row.get(key, "")) for key in header] for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(header))]
    print(f"\n{title}\n{machine()}")
    for line in table:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"written to {path}", flush=True)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@own_settings()
def plot_bars(path: Path, title: str, unit: str, groups: Mapping[str, Mapping[str, float]], log: bool = False) -> None:
    """Bars of each project, group by group.

    Args:
        path: png to write.
        title: of the picture.
        unit: of the values.
        groups: group name to project to value.
        log: logarithmic axis.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.6 * len(groups) + 2, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    names = list(dict.fromkeys(name for values in groups.values() for name in values))
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        measured = {index: values[name] for index, values in enumerate(groups.values()) if name in values}
        positions = [index + (place - (len(names) - 1) / 2) * width for index in measured]
        bars = axes.bar(positions, list(measured.values()), width, label=name)
        axes.bar_label(bars, fmt=lambda value: f"{value:.0f}" if value >= 100 else f"{value:.3g}", fontsize=7)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set_ylabel(unit)
    axes.set_title(title)
    if log:
        axes.set_yscale("log")
    axes.margins(y=0.12)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
