"""A study: a grid of models, input sizes, data sets and seeds, each cell trained, evaluated and measured.

    python -m benchmarks.study smoke
    python -m benchmarks.study iso_cost --data-root FOLDER --workers 2
    python -m benchmarks.study iso_cost --only data=digits model="yolov5n*" seed=0 --dry-run
    python -m benchmarks.study path/to/mine.py
    python -m benchmarks.study benchmarks/results/study_iso_cost.csv --report      # from the csv alone

A study is a Python file with a list of cells; the shipped ones are in benchmarks/studies/. A cell is trained from
scratch by train.py's engine, a peer by its own code in its own environment (`python -m benchmarks.peers`); best.pt is
evaluated on val with YOLOv5's padding (`val.py --pad 0.5`), as the peers do it, and everybody's detections are scored
by the same COCO AP. Poses are found in crops around the labelled boxes, by a peer in whole pictures, and scored by the
same OKS AP. The curve comes from the training's own validation, which is without padding in ours.

Every cell has its own folder and process: one that fails is reported and the others go on; one that was killed goes on
from its last epoch when the same command is given again; one whose definition changed is another cell. A changed
program is not a changed definition.

Latency of detectors is timed at the end, when no cell is running, all models of a size in turns
(benchmarks/study_latency.py). Results go to one csv, table and plots beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers import FOLDER
from benchmarks.side_by_side import ROOT
from benchmarks.study_cell import JOB, RESULT
from benchmarks.study_class_data import class_part
from benchmarks.study_data import split_yaml
from benchmarks.study_latency import check_packages, measure_study, read_latency
from benchmarks.study_plan import PlannedCell, Study, find_study, load_study
from benchmarks.study_pose_data import people_part
from benchmarks.study_report import write_report
from benchmarks.study_table import Row, key_of, merge_rows, read_rows, score_of, write_rows
from mgil.engine.cli import describe, run_cli
from mgil.engine.devices import select_device
from mgil.files.atomic import write_text_atomic
from mgil.files.flags import natural_int, positive_int
from mgil.tasks.registry import DEFAULT_TASK

OUTPUT = Path("runs/studies")
LOOK_EVERY_S = 0.2
LOG_LINES = 12  # of a cell that failed


@dataclass
class Runner:
    """Runs the cells of a study, several at once, and keeps its csv.

    Attributes:
        study: what to run.
        output: folder of the cells.
        table: the study's csv.
        options: of the command line.
        failed: cells that did not end well.
    """

    study: Study
    output: Path
    table: Path
    options: argparse.Namespace
    failed: list[PlannedCell] = field(default_factory=list)

    def folder(self, cell: PlannedCell) -> Path:
        """Where a cell's files are."""
        return self.output / "cells" / cell.folder_name

    def pending(self) -> list[PlannedCell]:
        """Cells that are finished neither here nor, by the csv, elsewhere."""
        known = {row["cell"] for row in read_rows(self.table)} if self.table.exists() else set()
        return [cell for cell in self.study.cells if cell.id not in known and not (self.folder(cell) / RESULT).exists()]

    def state(self, cell: PlannedCell) -> str:
        """For the list of cells."""
        if cell not in self.pending():
            return "done"
        begun = (self.folder(cell) / "run" / "weights" / "last.pt").exists()
        return "to be resumed" if begun and "peer" not in cell.definition["model"] else "new"

    def run(self) -> bool:
        """Run what is pending; whether nothing is left to do."""
        deadline = time.monotonic() + 60 * self.options.limit_minutes if self.options.limit_minutes else None
        waiting = self.pending()
        running: dict[subprocess.Popen[bytes], tuple[PlannedCell, float]] = {}
        count, ended = len(waiting), 0
        try:
            while waiting or running:
                late = deadline is not None and time.monotonic() > deadline
                if late and not running:
                    break
                while waiting and not late and len(running) < self.options.workers:
                    cell = waiting.pop(0)
                    try:
                        running[self.start(cell)] = cell, time.monotonic()
                    except (ValueError, OSError) as error:  # of its data; others may be well
                        ended += 1
                        self.failed.append(cell)
                        print(f"[{ended}/{count}] {cell}: failed: {describe(error)}", flush=True)
                time.sleep(LOOK_EVERY_S)
                for process in [process for process in running if process.poll() is not None]:
                    cell, started = running.pop(process)
                    ended += 1
                    minutes = (time.monotonic() - started) / 60
                    print(f"[{ended}/{count}] {cell}: {self.finish(cell, process)}, {minutes:.1f} minutes", flush=True)
        finally:
            for process in running:
                stop(process)
        if waiting:
            print(f"the time is over; {len(waiting)} cells are left for the next run", flush=True)
        return not waiting

    def write_job(self, cell: PlannedCell) -> None:
        """Make a cell's folder, with all that its process has to know."""
        folder, options = self.folder(cell), self.options
        if options.resume is False:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        definition = cell.definition
        data_yaml = part_of(cell, self.output.absolute() / "data")
        lists = data_yaml.parent.name if data_yaml != cell.data_yaml else cell.data
        job = {
            "definition": definition,
            "data_yaml": str(data_yaml),
            **{name: str(getattr(cell, name) or "") for name in ("weights", "teacher")},
            "peer_data": str(self.output.absolute() / "peer_data" / lists),
            "peers": str(options.peers.absolute()),
            "device": options.device,
            "threads": options.threads,
            "data_workers": options.data_workers,
            "at_once": options.workers,
        }
        write_text_atomic(folder / JOB, json.dumps(job, indent=1))

    def start(self, cell: PlannedCell) -> subprocess.Popen[bytes]:
        """A process for a cell."""
        self.write_job(cell)
        folder = self.folder(cell)
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.options.threads), "PYTHONPATH": str(ROOT)}
        with (folder / "log.txt").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "benchmarks.study_cell", str(folder.absolute())],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that a peer's process can be ended with it
            )

    def finish(self, cell: PlannedCell, process: subprocess.Popen[bytes]) -> str:
        """Note what a cell's process left; in words."""
        folder = self.folder(cell)
        if process.returncode == 0 and (folder / RESULT).exists():
            self.update()
            score = score_of(cell.noted)
            return f"{score} {self.result(cell)[score]:.4f}"
        self.failed.append(cell)
        lines = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        print("\n".join(["", *lines[-LOG_LINES:]]), file=sys.stderr, flush=True)
        return f"failed (exit status {process.returncode}); see {folder / 'log.txt'}"

    def result(self, cell: PlannedCell) -> Row:
        """What a finished cell measured."""
        return json.loads((self.folder(cell) / RESULT).read_text(encoding="utf-8"))

    def update(self) -> None:
        """Write the csv anew, with what is finished and timed here in place of what stood there.

        Rows of a cell whose definition has changed since are left out: they are no seeds of what it is now.
        """
        device = select_device(self.options.device)
        now = {key_of(cell.facts): cell.id for cell in self.study.cells}
        old = read_rows(self.table) if self.table.exists() else []
        old = [row for row in old if row["cell"] == now.get(key_of(row), row["cell"])]
        elsewhere = {row["cell"]: row for row in old}
        rows = []
        for cell in self.study.cells:
            names = {"study": self.study.name, "baseline": self.study.baseline, **cell.noted}
            if (self.folder(cell) / RESULT).exists():
                row = names | cell.facts | self.result(cell)
            elif cell.id in elsewhere:
                row = elsewhere[cell.id] | names
            else:
                continue
            rows.append(row | read_latency(self.output / "latency.json", cell, self.options.threads, device))
        if not rows:
            return
        self.table.parent.mkdir(parents=True, exist_ok=True)
        write_rows(self.table, merge_rows(old, rows, now))

    def time_models(self) -> None:
        """Time the models, and add that to the csv."""
        device, options = select_device(self.options.device), self.options
        failed = {cell.id for cell in self.failed}
        cells = [cell for cell in self.study.cells if cell.id not in failed]
        measure_study(cells, self.output / "latency.json", options.threads, device, options.peers)
        self.update()


PARTS = {"pose": people_part, "classify": class_part}


def part_of(cell: PlannedCell, folder: Path) -> Path:
    """The YAML of the images that a cell trains and validates on."""
    part = PARTS.get(cell.task, split_yaml)
    return part(cell.data_yaml, cell.data, cell.definition.get("holdout", 0), cell.definition.get("images", 0), folder)


def timed(study: Study) -> bool:
    """Whether the latency of its models can be measured; others are timed by `val.py --task speed`."""
    return study.task == DEFAULT_TASK


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a cell's process and those that it started; its checkpoints are whole at any time."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def show_cells(runner: Runner) -> None:
    """The list of --dry-run."""
    for cell in runner.study.cells:
        definition = cell.definition
        model = definition["model"]
        width = model.get("width_multiple") or model.get("host_options", {}).get("width")
        shape = f"  width {width:g}" if width else ""
        print(
            f"{runner.state(cell):13}  {cell}{shape}  {definition['epochs']} epochs, batch {definition['batch']}  "
            f"{cell.folder_name}"
        )
    print(f"{len(runner.study.cells)} cells, {len(runner.pending())} to run")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="a shipped study, or the path of a .py file; with --report also of its csv")
    parser.add_argument(
        "--data-root", type=Path, nargs="+", default=[], help="folders of data sets that are not shipped"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="KEY=PATTERN", help="model, data, size, seed")
    parser.add_argument("--dry-run", action="store_true", help="list the cells")
    parser.add_argument("--workers", type=positive_int, default=1, help="cells at once")
    parser.add_argument("--threads", type=positive_int, default=1, help="CPU threads of each cell, and of the latency")
    parser.add_argument("--data-workers", type=natural_int, default=0, help="of each cell, for what memory cannot hold")
    parser.add_argument("--device", default="", help="as for train.py; default: the GPU where there is one")
    parser.add_argument("--limit-minutes", type=float, help="begin no cell after that")
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="cells that were interrupted go on; with --no-resume they begin anew",
    )
    parser.add_argument("--latency", action=argparse.BooleanOptionalAction, default=True, help="time the models too")
    parser.add_argument("--report", action="store_true", help="table and plots only")
    parser.add_argument("--peers", type=Path, default=FOLDER, help="the peers' environment")
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, help="where the cells go, in a folder of the study's name"
    )
    parser.add_argument(
        "--results", type=Path, help="where csv, table and plots go; default: the study's output folder"
    )
    return parser.parse_args(arguments)


def table_of(options: argparse.Namespace) -> Path:
    """The csv of the study that is named, which a report needs neither models nor data for."""
    if options.study.endswith(".csv"):
        return Path(options.study)
    name = find_study(options.study).stem
    return (options.results or options.output / name) / f"study_{name}.csv"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a study, or report on it."""
    options = parse_arguments(arguments)
    if options.report:
        write_report(table_of(options), options.results or table_of(options).parent)
        return
    if options.study.endswith(".csv"):
        raise ValueError(f"{options.study}: a csv can only be reported on; add --report, or give the study's name")
    study = load_study(find_study(options.study), options.data_root, options.only)
    table = table_of(options)
    runner = Runner(study, options.output / study.name, table, options)
    if options.dry_run:
        show_cells(runner)
        return
    latency = options.latency and timed(study)
    if latency:
        check_packages()
    whole = runner.run()
    runner.update()
    if whole and latency:
        runner.time_models()
    if table.exists():
        write_report(table, table.parent)
    if runner.failed:
        raise SystemExit(f"{len(runner.failed)} cells failed: {'; '.join(map(str, runner.failed))}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # cells are ended with the study
    run_cli(main)
