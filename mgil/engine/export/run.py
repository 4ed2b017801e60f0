"""What export.py does: one model written in several formats, each file run and compared before it takes its name."""

from __future__ import annotations

import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mgil.datasets.reading.config import DataConfig
from mgil.engine.cli import describe
from mgil.engine.data_of_weights import check_classes, data_named_by, load_data, load_trained_on
from mgil.engine.devices import select_device
from mgil.engine.export.check import Run, check_file
from mgil.engine.export.config import DEFAULT_OPSET, ExportFlags
from mgil.engine.export.formats import Format, check_formats, check_options
from mgil.engine.export.images import data_inputs, example_inputs, in_batches
from mgil.engine.export.job import ExportJob
from mgil.engine.export.mobile import open_ncnn, open_tflite, write_coreml, write_ncnn, write_tflite
from mgil.engine.export.onnx import check_opset, write_onnx
from mgil.engine.export.openvino import write_openvino
from mgil.engine.export.tensorrt import write_engine
from mgil.engine.export.torchscript import write_torchscript
from mgil.engine.input_size import input_size_hw
from mgil.engine.runtimes.model import is_exported, load_exported
from mgil.engine.stopping import ended_by_sigterm
from mgil.engine.weights.checkpoints import load_checkpoint, model_from_checkpoint
from mgil.engine.weights.released import fetch_weights
from mgil.files.atomic import check_room, folder_aside, remove_leftovers, sync_folder, sync_tree
from mgil.files.flags import check_foreign
from mgil.files.packages import MissingPackage
from mgil.files.text import Report
from mgil.networks.network import Network
from mgil.tasks.base import Task
from mgil.tasks.registry import options_of, task_named

WRITERS: dict[str, Callable[[ExportJob, Path], None]] = {
    "torchscript": write_torchscript,
    "onnx": write_onnx,
    "openvino": write_openvino,
    "engine": write_engine,
    "coreml": write_coreml,
    "tflite": write_tflite,
    "ncnn": write_ncnn,
}
CHECKED_IMAGES = 4
CHECKED_INT8_IMAGES = 32  # its errors are judged by their share, which a few pictures do not have
NO_ROOM_BYTES = 1 << 20  # with less free space a disk is full
CALIBRATION_IMAGES = 128


class ExportError(ValueError):
    """At least one of the formats was not written."""


@dataclass(frozen=True)
class Exported:
    """A file or folder that was written; `difference` is None where no runtime here can open it."""

    format: Format
    path: Path
    seconds: float
    difference: object | None
    note: str = ""  # on its numbers, where they are not what was asked for


def run_export(config: ExportFlags, report: Report = print) -> list[Exported]:
    """Export weights to every format asked for.

    Returns:
        What was written, in the order of --include.

    Raises:
        FileNotFoundError: no such weights or data.
        ValueError: flags that make no sense together; nothing was written then.
        OSError: the weights' folder cannot be written to.
        ExportError: some formats failed; the others were written.
    """
    formats = check_formats(config.include)
    check_options(formats, config.given())
    job, checks = prepare(config, formats, report)
    done: list[Exported] = []
    failures: dict[str, str] = {}
    with ended_by_sigterm(), export_folder(Path(config.weights)) as aside:
        for row in formats:
            try:
                exported = export_one(job, row, aside, checks)
            except Exception as error:  # converters raise whatever they like; the other formats still have their turn
                if config.verbose and not isinstance(error, MissingPackage):
                    traceback.print_exc()
                failures[row.argument] = describe(error)
                report(f"{row.argument}: failed: {failures[row.argument]}")
                continue
            done.append(exported)
            report(f"{row.argument}: {_summary(exported)}")
    if failures:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        raise ExportError(f"{len(failures)} of {len(formats)} formats failed: {reasons}")
    return done


def prepare(config: ExportFlags, formats: tuple[Format, ...], report: Report) -> tuple[ExportJob, list[Tensor]]:
    """Read weights and data; return the job, and batches of real images to check files with."""
    if is_exported(config.weights):
        raise ValueError(f"--weights {config.weights} is no .pt file; give the one that exported files are made from")
    device = select_device(config.device)
    if config.download:
        fetch_weights(config.weights, report)
    checkpoint = load_checkpoint(config.weights)
    task = task_named(checkpoint.task)
    check_foreign(
        config, (ExportFlags, options_of(task.name, "export")), f"{config.weights} is of the task {task.name}"
    )
    model = model_from_checkpoint(checkpoint, fuse=False)
    size_hw = input_size_hw(config.imgsz or (model.imgsz,), model.max_stride, report)
    if not model.any_size and size_hw != (model.imgsz, model.imgsz):
        given = " ".join(map(str, config.imgsz))
        raise ValueError(f"--imgsz {given}: {config.weights} takes {model.imgsz} px alone; leave --imgsz out")
    source = config.data or (checkpoint.info.get("data") if config.int8 else None)
    if config.int8 and not source:
        raise ValueError("--int8 reads its ranges off real images; name a data set with --data")
    if config.int8 and not config.data:
        report(f"--int8: its ranges are read off {source}, the data set named in the weights; --data names another")
    data = None
    if source:
        with data_named_by(None if config.data else config.weights):
            data = load_data(task, config.data) if config.data else load_trained_on(task, str(source), config.weights)
        data = replace(data, values=data.values or checkpoint.values)
        data = task.adapted(data, options_of(task.name, "val")())
        if len(model.names) > 1:  # those of one class may be of --single-cls, and images are all that is taken
            check_classes(model.names, data, report, named=task.named)
    job = ExportJob(
        model=model,
        task=task,
        stem=Path(config.weights).stem,
        size_hw=size_hw,
        batch_size=config.batch_size,
        device=device,
        half=config.half,
        int8=config.int8,
        dynamic=config.dynamic,
        simplify=config.simplify,
        opset=DEFAULT_OPSET if config.opset is None else config.opset,
        inside=task.inside(config),
        workspace=config.workspace,
        verbose=config.verbose,
        values=checkpoint.values,
        calibration=lambda: _calibration(task, model, data, size_hw, config.batch_size, report),
    )
    check_opset(job)
    _check_job(formats, job)
    with data_named_by(None if config.data else config.weights):
        return job, check_inputs(job, data, report)


def check_inputs(job: ExportJob, data: DataConfig | None, report: Report) -> list[Tensor]:
    """Batches of real images; for a dynamic file also another number of images, and where it may be another size."""
    sizes = [(job.size_hw, job.batch_size)]
    if job.dynamic:
        stride = job.model.max_stride
        other = (job.size_hw[0] + stride, job.size_hw[1] + 2 * stride) if job.model.any_size else job.size_hw
        sizes.append((other, job.batch_size + 1))
    most = CHECKED_INT8_IMAGES if job.int8 else CHECKED_IMAGES
    batches = []
    for size_hw, count in sizes:
        if data is None:
            inputs = example_inputs(size_hw)
        else:
            inputs = data_inputs(job.task, job.model, data, ("val", "test", "train"), size_hw, most, report)
        batches += in_batches(inputs, count)[:most]
    return batches


@contextmanager
def export_folder(weights: Path) -> Iterator[Path]:
    """A hidden folder beside the weights, for files that are not finished; gone at the end.

    Raises:
        OSError: nothing can be written beside the weights.
    """
    remove_leftovers(weights.parent)
    with ExitStack() as stack:
        try:
            aside = stack.enter_context(folder_aside(weights))
        except OSError as error:
            advice = "what is exported goes beside the weights: copy them to a folder that you can write to"
            raise OSError(error.errno, f"{error.strerror}; {advice}", str(weights.parent)) from error
        yield aside


def export_one(job: ExportJob, row: Format, aside: Path, checks: list[Tensor]) -> Exported:
    """Write one format in the folder aside, check it there, and move it beside the weights."""
    suffix = f"_int8{row.suffix}" if job.int8 else row.suffix
    target = aside.parent / f"{job.stem}{suffix}"
    start = time.perf_counter()
    place = aside / row.argument
    place.mkdir()
    try:
        made = place / target.name
        WRITERS[row.argument](job, made)
        run = _open(row, made, job.device)
        job = replace(job, in_bfloat16=getattr(run, "in_bfloat16", False))
        difference, note = check_file(job, run, checks) if run else None, getattr(run, "note", "")
        del run  # open files cannot be renamed everywhere
        sync_tree(made)
        replace_path(made, target, place)
    except MissingPackage:
        raise
    except Exception:
        check_room(target, NO_ROOM_BYTES)  # of a full disk each library says something else, or nothing
        raise
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return Exported(row, target, time.perf_counter() - start, difference, note)


def replace_path(made: Path, target: Path, aside: Path) -> None:
    """Give a file or folder its name; a folder of that name goes aside first, since none can be renamed onto it.

    Args:
        made: what was written.
        target: the name.
        aside: a folder made with the user's default permissions, which `made` gets too.

    Raises:
        OSError: it cannot be moved, or a folder of that name holds files that no export wrote; all is as it was.
    """
    permissions = aside.stat().st_mode & 0o777
    os.chmod(made, permissions if made.is_dir() else permissions & 0o666)
    before = aside / "before"
    try:
        if target.is_dir():
            if not made.is_dir():
                raise IsADirectoryError(21, "a folder is in the way", str(target))
            if strange := sorted(_files_in(target) - _files_in(made)):
                raise FileExistsError(17, f"holds {strange[0]}, which no export wrote; move it away", str(target))
            os.rename(target, before)
        os.replace(made, target)
    except BaseException:
        if before.exists() and not target.exists():
            os.rename(before, target)
        raise
    sync_folder(target.parent)


def _files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def _open(row: Format, path: Path, device: torch.device) -> Run | None:
    if row.argument == "coreml":
        return None  # predicts on Apple's systems alone
    if row.argument == "tflite":
        return open_tflite(path)
    if row.argument == "ncnn":
        return open_ncnn(path)
    return load_exported(path, device)


def _calibration(
    task: Task, model: Network, data: DataConfig | None, size_hw: tuple[int, int], batch_size: int, report: Report
) -> list[Tensor]:
    assert data is not None, "prepare() asks for a data set where INT8 is wanted"
    return in_batches(data_inputs(task, model, data, ("train", "val"), size_hw, CALIBRATION_IMAGES, report), batch_size)


def _check_job(formats: tuple[Format, ...], job: ExportJob) -> None:
    for row in formats:
        if row.argument == "engine" and job.device.type != "cuda":
            raise ValueError("TensorRT builds on the GPU it builds for: --include engine needs --device 0")
        if row.argument == "torchscript" and job.half and job.device.type != "cuda":
            raise ValueError("a float16 TorchScript file is traced and run on a GPU: --half needs --device 0")
        if row.argument == "ncnn" and job.batch_size > 1:
            raise ValueError(f"--batch-size {job.batch_size}: ncnn runs one image at a time; leave it out")


def _summary(exported: Exported) -> str:
    files = [exported.path] if exported.path.is_file() else [f for f in exported.path.rglob("*") if f.is_file()]
    size = sum(file.stat().st_size for file in files) / 1e6
    checked = exported.difference or "not checked, no runtime for it on this system"
    note = f"; {exported.note}" if exported.note else ""
    return f"{exported.path}, {size:.1f} MB, {exported.seconds:.1f} s; {checked}{note}"
