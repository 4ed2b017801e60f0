"""Latency of a study's models at batch 1, in turns: the forward pass in PyTorch, in ONNX Runtime and in OpenVINO.

The models are untrained, which changes nothing about their speed. Ours are as val.py and detect.py run them: fused and
re-parameterised; a peer runs in its own environment, with its own PyTorch, fused by its own code, and is exported by
its own code. Suppression of boxes is left out everywhere. OpenVINO, where it is installed, reads the ONNX file.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from benchmarks.side_by_side import Worker, machine
from benchmarks.study_openvino import BF16, F32, INT8, openvino_forwards, openvino_versions
from benchmarks.study_plan import PlannedCell
from mgil.engine.export.config import ExportConfig
from mgil.engine.export.run import run_export
from mgil.engine.runtimes.onnx import OnnxBackend, gpu_provider_installed
from mgil.engine.weights.checkpoints import model_from_checkpoint, save_checkpoint
from mgil.files.atomic import write_text_atomic
from mgil.files.packages import MissingPackage, import_package
from mgil.networks.detector import DetectionModel, build_model

ROUNDS, IN_A_ROW = 20, 5  # turns of each model, and images of a turn; the first image of a turn warms the caches
PYTORCH, ONNX = "PyTorch ms", "ONNX ms"
GPU = {PYTORCH: "GPU PyTorch ms", ONNX: "GPU ONNX ms"}
COLUMNS = (PYTORCH, ONNX, F32, BF16, INT8, *GPU.values())
TURNS = "turns"  # in the json file: models with the same number took turns
Timer = Callable[[int], list[float]]  # milliseconds of each of so many images in a row


def measure_study(
    cells: Iterable[PlannedCell], path: Path, threads: int, device: torch.device, peers: Path, rounds: int = ROUNDS
) -> None:
    """Time every model of the cells at every size, and note it in a json file.

    Models that were timed in the same turns already are not timed again.

    Args:
        cells: only their models, sizes and classes matter.
        path: the file, see `read_latency`.
        threads: of the CPU.
        device: a GPU is timed too where this is one.
        peers: folder of the peers' environment.
        rounds: turns of each model.

    Raises:
        MissingPackage: ONNX Runtime is not installed.
    """
    import_package("onnxruntime")
    torch.set_num_threads(threads)
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    groups: dict[tuple[int, int], dict[str, PlannedCell]] = {}
    for cell in cells:
        group = groups.setdefault((cell.size, len(cell.definition["classes"])), {})
        group.setdefault(latency_key(cell, threads, device), cell)
    for (size, classes), group in groups.items():
        turns = {known.get(key, {}).get(TURNS) for key in group}
        if len(turns) == 1 and None not in turns:
            continue
        print(f"timing {len(group)} models at {size} px, {classes} classes", flush=True)
        known |= measure_group(group, threads, device, peers, rounds)
        write_text_atomic(path, json.dumps(known, indent=1))


def check_packages() -> None:
    """See that the libraries of the timing are there, before hours of training end with their absence.

    Raises:
        MissingPackage: One is not installed.
    """
    try:
        for package in ("onnx", "onnxruntime"):
            import_package(package)
    except MissingPackage as error:
        raise MissingPackage(f"{error}; or give --no-latency, which times no model") from error


def latency_key(cell: PlannedCell, threads: int, device: torch.device) -> str:
    """What a latency depends on, on one machine."""
    model = json.dumps(cell.definition["model"], sort_keys=True)
    versions = f"torch {torch.__version__}, onnxruntime {import_package('onnxruntime').__version__}"
    if openvino := openvino_versions():
        versions += f", {openvino}"
    classes = len(cell.definition["classes"])
    return f"{machine()} | {versions} | {device.type} | {threads} | {cell.size} | {classes} | {model}"


def read_latency(path: Path, cell: PlannedCell, threads: int, device: torch.device) -> dict[str, Any]:
    """The columns of a cell's row that were measured here: milliseconds, where, and with how many threads."""
    if not path.exists():  # nor are the runtimes imported, whose versions the keys have
        return {}
    known = json.loads(path.read_text(encoding="utf-8"))
    try:
        return known.get(latency_key(cell, threads, device), {})
    except MissingPackage:  # then nothing can have been measured with the version that is installed
        return {}


def measure_group(
    group: Mapping[str, PlannedCell], threads: int, device: torch.device, peers: Path, rounds: int
) -> dict[str, dict[str, Any]]:
    """Medians of the models of one size, timed in turns."""
    timers: dict[tuple[str, str], Timer] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for number, (key, cell) in enumerate(group.items()):
            found = open_cell(stack, cell, threads, device, peers, folder / str(number))
            timers |= {(key, column): timer for column, timer in found.items()}
        medians = take_turns(timers, rounds)
    where: dict[str, Any] = {"latency threads": threads, "latency machine": machine(), TURNS: time.time_ns()}
    if device.type == "cuda":
        where["GPU"] = torch.cuda.get_device_name(device)
    measured: dict[str, dict[str, Any]] = {}
    for (key, column), milliseconds in medians.items():
        measured.setdefault(key, dict(where))[column] = milliseconds
    return measured


def open_cell(
    stack: ExitStack, cell: PlannedCell, threads: int, device: torch.device, peers: Path, folder: Path
) -> dict[str, Timer]:
    """Timers of a cell's model at its input size, by column; none, and a line, where it cannot be timed."""
    folder.mkdir()
    model, classes = cell.definition["model"], len(cell.definition["classes"])
    try:
        if "peer" in model:
            return open_peer(stack, model, cell.size, classes, threads, device, peers, folder)
        return open_ours(model, cell.size, classes, device, folder)
    except (RuntimeError, ValueError, OSError) as error:  # one model that cannot be timed; the others can
        print(f"{cell.model} at {cell.size} px: not timed: {error}", flush=True)
        return {}


def take_turns(timers: Mapping[Any, Timer], rounds: int) -> dict[Any, float]:
    """Median milliseconds of each; a slow moment of the machine falls on all of them."""
    times: dict[Any, list[float]] = {key: [] for key in timers}
    for number in range(rounds + 1):
        for key, timer in timers.items():
            milliseconds = timer(IN_A_ROW)
            if number:  # the first round chooses kernels
                times[key] += milliseconds[1:]
    return {key: statistics.median(values) for key, values in times.items()}


def open_ours(
    architecture: Mapping[str, Any], size: int, classes: int, device: torch.device, folder: Path
) -> dict[str, Timer]:
    """Timers of an architecture, by column."""
    torch.manual_seed(0)
    weights = folder / "model.pt"
    save_checkpoint(weights, build_model(architecture, num_classes=classes, imgsz=size), {})
    exported = run_export(
        ExportConfig(weights=str(weights), imgsz=(size,), include=("onnx",)), report=lambda _line: None
    )[0].path
    timers = timers_on(torch.device("cpu"), exported, weights, size)
    return timers | ({GPU[column]: timer for column, timer in timers_on(device, exported, weights, size).items()}
                     if device.type == "cuda" else {})  # fmt: skip


def timers_on(device: torch.device, exported: Path, weights: Path | None, size: int) -> dict[str, Timer]:
    """Timers of an ONNX file, and of weights of ours, on one device."""
    timers: dict[str, Timer] = {}
    if weights:
        model = model_from_checkpoint(weights, device)
        assert isinstance(model, DetectionModel)
        timers[PYTORCH] = stopwatch(model, size, device)
    if device.type == "cpu" or gpu_provider_installed():
        timers[ONNX] = stopwatch(OnnxBackend(exported, device).run, size, device)
    if device.type == "cpu":
        forwards = openvino_forwards(exported, size)
        timers |= {column: stopwatch(forward, size, device) for column, forward in forwards.items()}
    return timers


def open_peer(
    stack: ExitStack,
    model: Mapping[str, Any],
    size: int,
    classes: int,
    threads: int,
    device: torch.device,
    peers: Path,
    folder: Path,
) -> dict[str, Timer]:
    """Timers of a peer's model, by column; its process ends with the stack."""
    worker = stack.enter_context(Worker(model["peer"], peers, threads, folder / "scratch"))
    weights = worker.ask("untrained", model=model["model"], classes=classes, folder=str(folder))
    exported = Path(worker.ask("export_onnx", weights=weights, size=size))
    timers = timers_on(torch.device("cpu"), exported, None, size)
    columns = {PYTORCH: "cpu"}
    if device.type == "cuda":
        timers |= {GPU[column]: timer for column, timer in timers_on(device, exported, None, size).items()}
        columns[GPU[PYTORCH]] = str(device)
    for column, place in columns.items():
        worker.ask("open_model", name=column, weights=weights, size=size, device=place, threads=threads)
        timers[column] = lambda images, column=column: worker.ask("time_model", name=column, images=images)  # type: ignore[misc]
    return timers


def stopwatch(forward: Callable[[torch.Tensor], Any], size: int, device: torch.device) -> Timer:
    """A timer of a forward pass in this process."""
    image = torch.rand(1, 3, size, size, device=device)

    @torch.inference_mode()
    def milliseconds(images: int) -> list[float]:
        times = []
        for _ in range(images):
            started = time.perf_counter()
            forward(image)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(1000 * (time.perf_counter() - started))
        return times

    return milliseconds
