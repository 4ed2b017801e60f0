"""A peer that is quick: a worker that trains nothing, finds what the labels say, and tells what it was asked."""

from __future__ import annotations

from pathlib import Path

from benchmarks import side_by_side

SCRIPT = """
import sys
sys.path.insert(0, {workers!r})
import json
from pathlib import Path
from channel import Channel
{rows_of}
asked = {{}}
def info():
    return {{"name": "fake", "version": "1", "torch": "0"}}
def train(folder, **settings):
    asked.update(settings)
    run = Path(folder) / "run"
    run.mkdir()
    (run / "results.csv").write_text({results!r})
    (run / "best.pt").write_text("")
    return {{"seconds": 12.5, "weights": str(run / "best.pt")}}
def find(data, weights, folder, **settings):
    labels = sorted((Path(data).parent / "labels" / "val").glob("*.txt"))
    target = Path(folder) / "found.json"
    target.write_text(json.dumps(rows_of(labels)))
    (Path(folder) / "asked.json").write_text(json.dumps([asked, settings]))
    return str(target)
def cost(weights, sizes):
    return {{"parameters": 7, "gflops": [size / {pixels_per_gflop} for size in sizes]}}
Channel().serve({{"info": info, "train": train, {method!r}: find, "cost": cost}})
"""


def write_fake_peer(path: Path, method: str, results: str, rows_of: str, pixels_per_gflop: int) -> None:
    """Write the worker's script.

    Args:
        path: Of the script.
        method: What the runner calls to have things found.
        results: The content of its results.csv.
        rows_of: Source of a function `rows_of(label_files)` that gives what is found.
        pixels_per_gflop: Its operations are the input size over this.
    """
    workers = str(side_by_side.WORKERS)
    text = SCRIPT.format(
        workers=workers, method=method, results=results, rows_of=rows_of, pixels_per_gflop=pixels_per_gflop
    )
    path.write_text(text)
