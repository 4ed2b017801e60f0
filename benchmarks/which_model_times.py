"""The time that each model of the README's table takes, those of one kind of picture in turns, whatever their sizes.

    python -m benchmarks.which_model_times --data-root FOLDER

A study times the models of one input size in turns; here networks on enlarged pictures are compared with one on the
pictures as they are. FOLDER is that of the studies. What cannot be timed, as the peers where their environment is not,
is named, and has no row: ratios hold within the turns of one run.
"""

from __future__ import annotations

import argparse
import csv
import io
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers import FOLDER
from benchmarks.side_by_side import machine
from benchmarks.study_latency import COLUMNS as TIMES
from benchmarks.study_latency import ROUNDS, Timer, open_cell, take_turns
from benchmarks.study_plan import PlannedCell, find_study, load_study
from benchmarks.which_model import PLACES, TIMED, Place
from mgil.engine.cli import run_cli
from mgil.files.atomic import write_text_atomic

KEY = ("study", "data", "model", "size")


def measure(place: Place, cells: Iterable[PlannedCell], peers: Path, rounds: int) -> list[dict[str, Any]]:
    """Median milliseconds of every model and size among the cells, all in turns: a row each."""
    cpu, threads = torch.device("cpu"), torch.get_num_threads()
    timers: dict[tuple[str, int, str], Timer] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for cell in {(cell.model, cell.size): cell for cell in cells}.values():
            found = open_cell(stack, cell, threads, cpu, peers, folder / cell.folder_name)
            timers |= {(cell.model, cell.size, column): timer for column, timer in found.items()}
        medians = take_turns(timers, rounds)
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for (name, size, column), milliseconds in medians.items():
        row = dict(zip(KEY, (place.study, place.data, name, size), strict=True))
        rows.setdefault((name, size), row)[column] = f"{milliseconds:.4g}"
    return [{**row, "threads": threads, "machine": machine()} for row in rows.values()]


def main() -> None:
    """Time all, and write the csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, nargs="+", default=[], help="folders of the data sets")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each model")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--peers", type=Path, default=FOLDER, help="the peers' environment")
    parser.add_argument("--output", type=Path, default=TIMED, help="the csv")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for place in PLACES:
        only = (f"data={place.data}", "seed=0")
        cells = load_study(find_study(place.study), options.data_root, only).cells
        print(f"timing {place.pictures}, {place.pixels} px, {place.start}", flush=True)
        rows += measure(place, cells, options.peers, options.rounds)
    text = io.StringIO()
    writer = csv.DictWriter(text, [*KEY, *TIMES, "threads", "machine"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text_atomic(options.output, text.getvalue())
    print(f"written to {options.output}")


if __name__ == "__main__":
    run_cli(main)
