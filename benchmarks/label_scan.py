"""Reading the labels of many images, opening the cache again, and the memory of processes that decode the images.

    python -m benchmarks.label_scan --images 118287         # as many as COCO's train2017

Makes a set of that many small JPEGs and label files, and one of a quarter of it: four times the images should take
four times as long. Each reading is in a fresh process; first and cached, ours and upstream YOLOv5's (where
`python -m benchmarks.peers` has made its environment) take turns. Then one epoch is streamed: the worker processes
must not copy the label arrays.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.peers import FOLDER, peers_environment, peers_python

ROOT = Path(__file__).resolve().parent.parent
WORKERS = ROOT / "benchmarks" / "workers"
OURS, UPSTREAM = "ours", "yolov5"
STATES = ("first", "cached")
QUARTER = 4
Row = dict[str, Any]


def run_step(*arguments: object, python: Path | str = sys.executable, script: str = "label_scan_ours.py") -> Row:
    """Run a worker script in a fresh process and take its answer.

    This process must stay small, as Linux counts the memory of whoever starts a process into that process's peak.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    ours = python == sys.executable
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} if ours else peers_environment(Path(python).parent.parent)
    environment |= {"OMP_NUM_THREADS": "1"}
    command = [str(python), str(WORKERS / script), *map(str, arguments)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{script} {arguments[0]} failed:\n{result.stderr[-2000:]}")
    answer: Row = json.loads(result.stdout.splitlines()[-1])
    return answer


def make_set(folder: Path, images: int) -> Path:
    """A set of so many images, made unless it is there."""
    target = folder / f"labels{images}"
    if not (target / "set.yaml").exists():
        shutil.rmtree(target, ignore_errors=True)
        print(f"making {images:,} images and label files in {target}", flush=True)
        run_step("make_tree", target, images)
    return target


def link_for_peer(target: Path) -> Path:
    """The same files by other paths, as upstream writes a cache beside its labels; returns the folder of images."""
    for kind in ("images", "labels"):
        link = target / "peer" / kind / "train"
        if not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target.absolute() / kind / "train")
    return target / "peer" / "images" / "train"


def measure(target: Path, python: Path | None, rounds: int) -> dict[tuple[str, str], Row]:
    """Cost of reading a set, by project and state: medians of so many rounds."""
    answers: dict[tuple[str, str], list[Row]] = {}
    for _ in range(rounds):
        shutil.rmtree(target / "cache", ignore_errors=True)
        (target / "peer" / "labels" / "train.cache").unlink(missing_ok=True)
        for state in STATES:
            ours = run_step("scan", target / "set.yaml", target / "cache")
            answers.setdefault((OURS, state), []).append(ours | {"imports": run_step("imports")["peak"]})
            if python:
                theirs = run_step(link_for_peer(target), python=python, script="label_scan_upstream.py")
                answers.setdefault((UPSTREAM, state), []).append(theirs)
    return {
        key: {field: statistics.median(row[field] for row in rows) for field in rows[0]}
        for key, rows in answers.items()
    }


def scan_rows(costs: dict[int, dict[tuple[str, str], Row]]) -> list[Row]:
    """The table of the scans: costs by number of images, fewest first."""
    fewest = min(costs)
    rows = []
    for images, of_set in costs.items():
        for (name, state), cost in of_set.items():
            assert cost["images"] == images, f"{name} found {cost['images']} of {images} images"
            baseline = costs[fewest][name, state]
            rows.append(
                {
                    "images": images,
                    "boxes": int(cost["boxes"]),
                    "labels": state,
                    "project": name,
                    "wall s": round(cost["wall"], 2),
                    "CPU s": round(cost["cpu"], 2),
                    "peak MiB": round(cost["peak"]),
                    "of it imports MiB": round(cost["imports"]),
                    "microseconds/image": round(cost["wall"] / images * 1e6, 1),
                    f"wall, times that of {fewest}": round(cost["wall"] / baseline["wall"], 2),
                    "wall, times that of ours": round(cost["wall"] / of_set[OURS, state]["wall"], 2),
                }
            )
    return rows


def worker_rows(memory: Row) -> list[Row]:
    """The table of the workers' memory; empty where the system does not tell it."""
    pairs = zip(memory["start"], memory["end"], strict=True)
    return [
        {
            "worker": number,
            "USS MiB, start": round(start[0], 1),
            "end": round(end[0], 1),
            "PSS MiB, start": round(start[1], 1),
            "end ": round(end[1], 1),
            "USS grown MiB": round(end[0] - start[0], 1),
            "label arrays MiB": round(memory["arrays"], 1),
        }
        for number, (start, end) in enumerate(pairs)
    ]


def main() -> None:
    """Measure, print two tables and write them as csv."""
    parser = argparse.ArgumentParser(description="Cost of reading labels, and memory of worker processes.")
    parser.add_argument("--images", type=int, default=118287, help="images of the larger set")
    parser.add_argument("--rounds", type=int, default=1, help="how often everything is read; medians are shown")
    parser.add_argument("--workers", type=int, default=4, help="decoding processes of the streamed epoch")
    parser.add_argument("--folder", type=Path, help="where the sets are kept; else a temporary folder, deleted after")
    parser.add_argument("--peers", type=Path, default=FOLDER, help="environment of the peers")
    parser.add_argument("--csv", type=Path, default=Path("runs/benchmarks/label_scan.csv"), help="where the table goes")
    arguments = parser.parse_args()
    python = peers_python(arguments.peers)
    if python is None:
        print(f"{arguments.peers} is not there: measuring ours alone. `python -m benchmarks.peers` makes it.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        costs = {}
        for images in (max(1, arguments.images // QUARTER), arguments.images):
            target = make_set(folder, images)
            costs[images] = measure(target, python, arguments.rounds)
        memory = run_step("stream", target / "set.yaml", target / "cache", arguments.workers)
    from benchmarks.side_by_side import show  # here, as it imports much: see `run_step`

    show("Reading the labels of images", scan_rows(costs), arguments.csv)
    rows = worker_rows(memory)
    if rows:
        path = arguments.csv.with_stem(f"{arguments.csv.stem}_workers")
        show(f"Memory of {len(rows)} worker processes over a streamed epoch of {arguments.images} images", rows, path)
        print("USS: memory that the process alone holds. PSS: that plus its share of what several hold.")
    else:
        print("Memory of worker processes: not measured, this system has no /proc/PID/smaps_rollup.")


if __name__ == "__main__":
    main()
