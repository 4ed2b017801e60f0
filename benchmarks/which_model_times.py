"""The time that each model of the README's table takes, those of one kind of picture in turns, whatever their sizes.

    python -m benchmarks.which_model_times --data-root FOLDER

A study times the models of one input size in turns; here networks on enlarged pictures are compared with one on the
pictures as they are. FOLDER is that of the studies. What cannot be timed, as the peers where their environment is not,
is named, and has no row: ratios hold within the turns of one run.
"""

from __future__ import annotations

import argparse
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
from benchmarks.study_summary import write_csv
from benchmarks.which_model import PLACES, TIMED, Place
from mgil.engine.cli import run_cli
from mgil.files.flags import positive_int

KEY = ("study", "data", "model", "size")
COLUMNS = (*KEY, *TIMES, "threads", "machine")


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
    parser.add_argument("--rounds", type=positive_int, default=ROUNDS, help="turns of each model")
    parser.add_argument("--threads", type=positive_int, default=1, help="of the CPU")
    parser.add_argument("--peers", type=Path, default=FOLDER, help="the peers' environment")
    parser.add_argument("--output", type=Path, default=TIMED, help="the csv")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cells = {  # of all, so that what is missing is named before minutes of timing
        place: load_study(find_study(place.study), options.data_root, (f"data={place.data}", "seed=0")).cells
        for place in PLACES
    }
    rows = []
    for place in PLACES:
        print(f"timing {place.title}", flush=True)
        rows += measure(place, cells[place], options.peers, options.rounds)
    write_csv(options.output, [{name: row.get(name, "") for name in COLUMNS} for row in rows])
    print(f"written to {options.output}")


if __name__ == "__main__":
    run_cli(main)
