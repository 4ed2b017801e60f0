"""What a training run leaves behind for people: console lines, results.csv, TensorBoard events."""

from __future__ import annotations

import csv
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mgil.files.atomic import check_room, write_text_atomic

RECENT_EPOCHS = 10  # the time left is told by what these took
EVENT_BYTES = 64 << 10  # a run writes fewer in many epochs


def columns(terms: Sequence[str], metrics: Sequence[str], val_terms: Sequence[str] | None = None) -> tuple[str, ...]:
    """The columns of results.csv, under YOLOv5's names.

    Args:
        terms: Names of the training loss's parts.
        metrics: The task's columns.
        val_terms: Names of the validation loss's parts; default: those of training.
    """
    train = [f"train/{term}_loss" for term in terms]
    val = [f"val/{term}_loss" for term in (terms if val_terms is None else val_terms)]
    return ("epoch", *train, *metrics, *val, "x/lr0", "x/lr1", "x/lr2")


class ResultsCsv:
    """results.csv, one row an epoch; always a whole file.

    Args:
        path: The file.
        columns: Of the table.
        first_epoch: Rows of this epoch and later are dropped: a resumed run writes them anew.
    """

    def __init__(self, path: Path, columns: Sequence[str], first_epoch: int = 0) -> None:
        self.path = path
        self.columns = columns
        rows = read_results(path) if path.exists() and first_epoch else []
        self.lines = [",".join(self.columns)]
        self.lines += [
            ",".join(row.get(key, "") for key in self.columns) for row in rows if int(row["epoch"]) < first_epoch
        ]

    def add(self, values: dict[str, float]) -> None:
        """Append an epoch's row; a metric that was not measured is an empty cell."""
        self.lines.append(",".join(_short(values[key]) if key in values else "" for key in self.columns))
        write_text_atomic(self.path, "\n".join(self.lines) + "\n")


def read_results(path: Path) -> list[dict[str, str]]:
    """The rows of a results.csv, ours or YOLOv5's with its padded names.

    Raises:
        ValueError: Another program changed it into something else; the file is named.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # programs for tables put a mark in front
            rows = [
                {key.strip(): (value or "").strip() for key, value in row.items() if key}
                for row in csv.DictReader(file)
            ]
        return [row | {"epoch": str(int(float(row["epoch"])))} for row in rows]
    except (KeyError, OverflowError, ValueError, csv.Error) as error:
        raise ValueError(
            f"{path}: no longer the table of epochs that training wrote ({type(error).__name__}: {error}); "
            "if another program saved it, put the original back, or move it away"
        ) from error


class TensorBoard:
    """TensorBoard events if tensorboard is installed; otherwise nothing, without a word of complaint.

    Args:
        folder: The run's.
        first_epoch: Events of this epoch and later, of the run before it was resumed, are not shown any more.
    """

    def __init__(self, folder: Path, first_epoch: int = 0) -> None:
        self.writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self.path = folder / "events.out.tfevents"
        check_room(self.path, EVENT_BYTES)  # a thread of TensorBoard's own writes, and would end in a traceback
        self.writer = SummaryWriter(str(folder), purge_step=first_epoch or None)

    def add(self, values: dict[str, float], epoch: int) -> None:
        """Write an epoch's scalars."""
        if self.writer is not None:
            check_room(self.path, EVENT_BYTES)
            for key, value in values.items():
                self.writer.add_scalar(key, value, epoch)
            self.writer.flush()  # a killed run has shown its epochs

    def close(self) -> None:
        """Finish the event file."""
        if self.writer is not None:
            self.writer.close()


class RunLog:
    """results.csv and TensorBoard of one run.

    Args:
        folder: The run's.
        columns: Of results.csv.
        first_epoch: What was noted of this epoch and later is dropped.
    """

    def __init__(self, folder: Path, columns: Sequence[str], first_epoch: int = 0) -> None:
        self.csv = ResultsCsv(folder / "results.csv", columns, first_epoch)
        self.board = TensorBoard(folder, first_epoch)

    def add(self, values: dict[str, float], epoch: int) -> None:
        """Note an epoch's figures."""
        self.csv.add(values)
        self.board.add(values, epoch)

    def close(self) -> None:
        """Finish the files."""
        self.board.close()


class TimeLeft:
    """How long a run still takes, from what its last epochs took with their validation and saving.

    Args:
        clock: Gives seconds, from any start.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._ends = deque([clock()], maxlen=RECENT_EPOCHS + 1)  # the start of the run, then the ends of epochs

    def after_epoch(self, epochs_left: int) -> str:
        """Note that an epoch ends; ", 1:23 left" for the epoch's line, or nothing after the last.

        Args:
            epochs_left: Epochs that are still to be trained.
        """
        self._ends.append(self._clock())
        mean = (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)
        return f", {_duration(mean * epochs_left)} left" if epochs_left else ""


def _duration(seconds: float) -> str:
    """Minutes and seconds as 1:23, with hours 4:01:23."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"
