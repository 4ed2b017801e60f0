"""What val.py does: weights and a data set in, scores and all that goes with them out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mgil.datasets.reading.config import DataConfig
from mgil.datasets.reading.depths import DepthTally
from mgil.datasets.reading.value_range import ValueRange
from mgil.engine.data_of_weights import check_classes, data_named_by, default_data, fetched, load_data, load_trained_on
from mgil.engine.degradations import Point, points_of
from mgil.engine.devices import FOUND_AMX
from mgil.engine.evaluation.config import HIGH_RESOLUTION_STUDY, LOW_RESOLUTION_STUDY, ValFlags
from mgil.engine.evaluation.evaluate import Evaluation, evaluate
from mgil.engine.evaluation.finisher import has_idle_core
from mgil.engine.evaluation.found_boxes import with_found_boxes
from mgil.engine.evaluation.plots import plot_degradations, plot_input_sizes
from mgil.engine.input_size import input_size_hw
from mgil.engine.runs import new_run_folder
from mgil.engine.runtimes.load import chosen_amp, load_networks
from mgil.engine.runtimes.model import check_fixed_size, device_for, fixed_size_hw
from mgil.engine.weights.released import fetch_weights
from mgil.files.csv_file import write_csv
from mgil.files.flags import check_foreign
from mgil.files.fonts import tell_missing_letters
from mgil.files.matplotlib_import import load_matplotlib
from mgil.files.text import Report
from mgil.files.written_files import WrittenFiles
from mgil.tasks.abilities import BoxTask
from mgil.tasks.base import Loading, Split, Task
from mgil.tasks.registry import options_of

# The table over input sizes or strengths of a degradation, and its picture; of the task's first figure: ap, top1.
TABLES = ("{}_vs_input_size.csv", "{}_vs_input_size.png")
DEGRADED_TABLES = ("{}_vs_degradation.csv", "{}_vs_degradation.png")

Row = tuple[int, Point]  # of the table: input size, and what pictures go through


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    Attributes:
        task: The weights'.
        model: In evaluation mode, on its device.
        data: The data set, as the options want it seen.
        split: Its labels.
        device: Of the model.
        depths: Counts pictures that use few of their values, over all sizes.
        point: What the pictures go through.
    """

    task: Task
    model: Any
    data: DataConfig
    split: Split
    device: torch.device
    depths: DepthTally
    point: Point


def run_val(config: ValFlags, report: Report = print) -> dict[int | str, Evaluation]:
    """Evaluate weights on a split at one or more input sizes, and write what was found to a new run folder.

    With --task speed and one size there is nothing to write, and no folder.

    Returns:
        The result of each input size; with several strengths of a degradation that of each, by `str(Point)`.

    Raises:
        FileNotFoundError: weights or data that are not there.
        ValueError: settings, weights and data that do not fit together, or a file in the folder that no run wrote and
            that would be overwritten.
    """
    device = device_for(config.weights, config.device)
    task, model, trained_on, values = _networks(config, device, report)
    check_foreign(config, (ValFlags, options_of(task.name, "val")), f"{config.weights[0]} is of the task {task.name}")
    if config.task == "speed":
        config = replace(config, **task.speed_options)
    named_by = config.weights[0] if trained_on and not config.data else None
    with data_named_by(named_by):
        if named_by:
            data = load_trained_on(task, str(trained_on), named_by)
        else:
            data = load_data(task, config.data) if config.data else default_data(task, model.names, config.weights[0])
        depths = DepthTally(data.values or values, chosen=data.values is not None)
        data = replace(data, values=depths.values)
        if config.download:
            data = fetched(task, data, (config.split,), report)
    seen = task.adapted(data, config)
    if not seen.one_class:
        has_one_class_flag = hasattr(options_of(task.name, "val"), "single_cls")
        check_classes(model.names, seen, report, "--single-cls" if has_one_class_flag else "", task.named)
    with data_named_by(named_by):
        split = task.read(seen, config.split, strict=config.strict, report=report)
    sizes = _input_sizes(config, model, report)
    for line in task.evaluation_notes(model, config.weights[0]):
        report(line)
    points = points_of(config.degrade)
    whole = Subject(task, model, seen, split, device, depths, points[0])
    subject = _seen_through(points[0], whole, config, report)
    if config.task == "speed" and len(sizes) == 1:  # a line on the console is all there is
        return {size: _measured(config, subject, size, None, report) for size in sizes}
    task.judge(model, subject.split, seen, config)  # which refuses what does not fit, before there is a folder
    load_matplotlib()  # before the work: pictures are part of the results
    tell_missing_letters(seen.names, report)
    folder = new_run_folder(config.project, config.name, config.exist_ok)
    rows: list[Row] = [(size, point) for point in points for size in sizes]
    results = _evaluate_rows(config, whole, subject, rows, folder, report)
    report(f"results saved to {folder}")
    return {size if len(points) == 1 else str(point): found for (size, point), found in zip(rows, results, strict=True)}


def _evaluate_rows(
    config: ValFlags, whole: Subject, subject: Subject, rows: Sequence[Row], folder: Path, report: Report
) -> list[Evaluation]:
    """The result of each row, of which `subject` is the first, with its files in the folder; of several a table too."""
    results = []
    with closing(WrittenFiles(folder)) as written:
        for row in rows:  # before the work, not after it
            written.check(*_outputs(config, subject, _folder_of(row, rows, folder)))
        if len(rows) > 1:
            written.check(*_table_files(whole.task, rows, folder))
        for size, point in rows:
            if point is not subject.point:
                subject = _seen_through(point, whole, config, report)
            own_folder = _folder_of((size, point), rows, folder)
            results.append(_evaluate_size(config, subject, size, own_folder, written, report))
        if len(rows) > 1:
            _save_table(whole.task, rows, results, folder, written, report)
    return results


def _points(rows: Sequence[Row]) -> list[Point]:
    """What pictures go through in these rows, each once."""
    return list(dict.fromkeys(point for _, point in rows))


def _seen_through(point: Point, whole: Subject, config: ValFlags, report: Report) -> Subject:
    """What is evaluated at a point, with the boxes that are found in the pictures as they are there."""
    task, split = whole.task, whole.split
    if config.degrade:
        report(f"pictures: {point.degradation or 'as they are'}")
    if isinstance(task, BoxTask) and config.task != "speed":
        split = with_found_boxes(task, split, config, whole.depths.values, point.degradation, report)
    return replace(whole, split=split, point=point)


def _folder_of(row: Row, rows: Sequence[Row], folder: Path) -> Path:
    """Where a row of the table has its files."""
    size, point = row
    if len(rows) == 1:
        return folder
    return folder / (f"size_{size}" if len(_points(rows)) == 1 else point.folder)


def _networks(
    config: ValFlags, device: torch.device, report: Report
) -> tuple[Task, Any, str | None, ValueRange | None]:
    """As `load_networks`, once it is clear in which numbers they compute and the files are here."""
    amp = chosen_amp(config.weights, config.amp, config.half, device, report)
    if config.amp == "auto" and amp == "bf16":
        report(FOUND_AMX)
    for path in config.weights if config.download else ():
        fetch_weights(path, report)
    return load_networks(config.weights, device, amp=amp, report=report)


def _input_sizes(config: ValFlags, model: Any, report: Report) -> tuple[int, ...]:
    fixed_hw = fixed_size_hw(model)
    if fixed_hw is not None:
        source = " + ".join(config.weights)
        if config.task == "study":
            raise ValueError(f"--task study needs a model of any input size; {source} was exported for one")
        for size in config.imgsz:
            check_fixed_size(model, (size,), source)
        return (max(fixed_hw),)
    sizes = config.imgsz or (model.imgsz,)
    if config.task == "study" and len(sizes) == 1:
        sizes = LOW_RESOLUTION_STUDY if sizes[0] <= max(LOW_RESOLUTION_STUDY) else HIGH_RESOLUTION_STUDY
    stride = model.max_stride if getattr(model, "any_size", True) else 1  # a judge resizes to a network's only size
    return tuple(dict.fromkeys(input_size_hw((size,), stride, report)[0] for size in sizes))


def _outputs(config: ValFlags, subject: Subject, folder: Path) -> list[Path]:
    """What evaluation at one size may write."""
    if config.task == "speed":
        return []
    stem = Path(config.weights[0]).stem
    return [folder / name for name in subject.task.outputs(subject.split, config, stem)]


def _evaluate_size(
    config: ValFlags, subject: Subject, size: int, folder: Path, written: WrittenFiles, report: Report
) -> Evaluation:
    """Evaluate at one size, and write and report the scores, which --task speed does not ask for."""
    if config.task == "speed":
        return _measured(config, subject, size, None, report)
    folder.mkdir(exist_ok=True)
    found = _measured(config, subject, size, folder, report)
    with written.writing(*_outputs(config, subject, folder)):
        found.scores.write(folder, pictures=True)
        found.scores.save(folder, Path(config.weights[0]).stem, report)
    for line in found.scores.lines(size, config.verbose):
        report(line)
    return found


def _measured(config: ValFlags, subject: Subject, size: int, pictures: Path | None, report: Report) -> Evaluation:
    """Scores and times at one size; the times are reported."""
    task, model, device = subject.task, subject.model, subject.device
    shape_hw = fixed_size_hw(model)
    times_only = config.task == "speed"
    loading = Loading(
        config.batch_size,
        workers=config.workers,
        shape_hw=shape_hw,
        ahead=device.type != "cpu" or (has_idle_core() and not times_only),
        speed_only=times_only,
        strict=config.strict,
        reduced=config.reduced_jpeg,
        change=subject.point.degradation,
        report=report,
    )
    loader = task.eval_loader(subject.split, size, model, config, loading)
    loader.depths = subject.depths
    judge = task.judge(model, subject.split, subject.data, config, pictures)
    if device.type == "cuda":  # the first pass selects kernels; it is not part of the times
        with torch.no_grad():
            judge.forward(torch.zeros(1, 3, *(shape_hw or (size, size)), device=device), False)
    found = evaluate(model, loader, judge, device=device, progress=True, alone=times_only)
    report(found.speed_line(config.batch_size, task.last_stage))
    return found


def _table_files(task: Task, rows: Sequence[Row], folder: Path) -> list[Path]:
    """The table over input sizes or strengths, and its picture."""
    names = TABLES if len(_points(rows)) == 1 else DEGRADED_TABLES
    return [folder / name.format(task.plotted[0].lower()) for name in names]


def _save_table(
    task: Task,
    rows: Sequence[Row],
    results: Sequence[Evaluation],
    folder: Path,
    written: WrittenFiles,
    report: Report,
) -> None:
    """The table of scores against input size, or strength of degradations; on the console, as csv and as a picture."""
    scores = [found.scores.row() for found in results]
    drawn = [{key: row[key] for key in task.plotted} for row in scores]
    points = _points(rows)
    if len(points) == 1:
        title, keys = "imgsz", [str(size) for size, _ in rows]
    else:
        title, keys = "degradation", [str(point) for point in points]
    columns = (title, *scores[0], "preprocess_ms", "inference_ms", f"{task.last_stage.lower()}_ms")
    values = [[*row.values(), *found.speeds_ms] for row, found in zip(scores, results, strict=True)]
    report("".join(f"{name:>14}" for name in columns))
    for key, figures in zip(keys, values, strict=True):
        report(f"{key:>14}" + "".join(f"{figure:>14.3f}" for figure in figures))
    table, picture = _table_files(task, rows, folder)
    with written.writing(table, picture):
        write_csv(table, columns, [[key, *figures] for key, figures in zip(keys, values, strict=True)])
        if len(points) == 1:
            plot_input_sizes(dict(zip((size for size, _ in rows), drawn, strict=True)), picture)
        else:
            plot_degradations(list(zip((point.varied for point in points), drawn, strict=True)), picture)
