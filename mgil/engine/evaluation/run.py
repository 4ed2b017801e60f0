"""What val.py does: weights and a data set in, COCO AP and all that goes with it out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import torch

from mgil.datasets.batches.eval_loader import EvalLoader
from mgil.datasets.reading.config import DataConfig, load_data_config
from mgil.datasets.reading.download import download
from mgil.datasets.reading.load import load_samples
from mgil.datasets.reading.samples import Samples
from mgil.engine.evaluation.config import ValConfig
from mgil.engine.evaluation.evaluate import EvalResult, evaluate
from mgil.engine.input_size import input_size_hw
from mgil.engine.runs import new_run_folder
from mgil.engine.runtimes.model import (
    ExportedModel,
    check_fixed_size,
    check_pytorch_only,
    device_for,
    fixed_size_hw,
    is_exported,
    load_exported,
)
from mgil.engine.weights.checkpoints import load_checkpoint, model_from_checkpoint
from mgil.files.atomic import write_text_atomic
from mgil.files.written_files import WrittenFiles
from mgil.networks.detector import DetectionModel
from mgil.tasks.detect.coco import detections_as_json, score_json
from mgil.tasks.detect.ensemble import Ensemble
from mgil.tasks.detect.plots import BATCH_PICTURES, RESULT_PICTURES, BatchPictures, plot_input_sizes, plot_result
from mgil.tasks.detect.report import (
    SIZE_COLUMNS,
    label_paths,
    result_lines,
    size_lines,
    size_rows,
    speed_line,
    write_csv,
    write_label_files,
    write_per_class_csv,
)

LOW_RESOLUTION_STUDY = (64, 96, 160, 320)
HIGH_RESOLUTION_STUDY = tuple(range(256, 1536 + 128, 128))  # YOLOv5's
SIZE_FILES = ("ap_vs_input_size.csv", "ap_vs_input_size.png")
Report = Callable[[str], None]
Model: TypeAlias = DetectionModel | ExportedModel | Ensemble


def run_val(config: ValConfig, report: Report = print) -> dict[int, EvalResult]:
    """Evaluate weights on a split at one or more input sizes, and write what was found to a new run folder.

    Returns:
        The result of each input size.

    Raises:
        FileNotFoundError: weights or data that are not there.
        ValueError: settings, weights and data that do not fit together, or a file in the folder that no run wrote and
            that would be overwritten.
    """
    device = device_for(config.weights, config.device)
    for path in filter(is_exported, config.weights):
        check_pytorch_only(path, augment=config.augment, half=config.half)
    if config.half and device.type != "cuda":
        raise ValueError(f"--half needs a CUDA device, this run is on {device.type}; leave it out")
    if config.task == "speed":
        config = replace(config, conf_thres=0.25, iou_thres=0.45)
    model, trained_on = _load(config.weights, device)
    data = load_data_config(config.data or trained_on or "digits.yaml")
    if not config.single_cls:
        _check_classes(model.names, data, report)
    if config.download and not all(Path(source).exists() for source in data.split(config.split)):
        data = download(data, report)
    if config.single_cls:
        data = data.as_one_class()
    samples = load_samples(data, config.split, strict=config.strict, report=report)
    sizes = _input_sizes(config, model, report)
    if getattr(model, "has_nms", False):
        report(
            f"warning: {config.weights[0]} suppresses boxes itself and gives only those that it keeps; --conf-thres "
            "and --iou-thres bring back no others, so AP is lower than that of the same model without --nms"
        )
    folder = new_run_folder(config.project, config.name, config.exist_ok)
    folders = {size: folder if len(sizes) == 1 else folder / f"size_{size}" for size in sizes}
    with closing(WrittenFiles(folder)) as written:
        for size_folder in folders.values():  # before the work, not after it
            written.check(*_outputs(config, size_folder, samples))
        if len(sizes) > 1:
            written.check(*(folder / name for name in SIZE_FILES))
        results = {}
        for size, size_folder in folders.items():
            size_folder.mkdir(exist_ok=True)
            results[size] = _evaluate_size(config, model, data, samples, size, device, size_folder, written, report)
        if len(sizes) > 1:
            _save_sizes(results, folder, written, report)
    report(f"results saved to {folder}")
    return results


def _outputs(config: ValConfig, folder: Path, samples: Samples) -> list[Path]:
    """What evaluation at one size may write."""
    if config.task == "speed":
        return []
    names = ["per_class.csv", *RESULT_PICTURES, *BATCH_PICTURES]
    if config.save_json:
        names.append(_json_name(config))
    labels = label_paths(folder / "labels", samples, range(len(samples))).values() if config.save_txt else ()
    return [*(folder / name for name in names), *labels]


def _json_name(config: ValConfig) -> str:
    return f"{Path(config.weights[0]).stem}_predictions.json"


def _save_sizes(results: dict[int, EvalResult], folder: Path, written: WrittenFiles, report: Report) -> None:
    for line in size_lines(results):
        report(line)
    table, picture = (folder / name for name in SIZE_FILES)
    with written.writing(table, picture):
        write_csv(table, SIZE_COLUMNS, size_rows(results))
        plot_input_sizes(results, picture)


def _load(weights: tuple[str, ...], device: torch.device) -> tuple[Model, str | None]:
    """The model, and the data set that the first weights name."""
    models: list[DetectionModel | ExportedModel] = []
    trained_on: list[Any] = []
    for path in weights:
        if is_exported(path):
            models.append(load_exported(path, device))
            trained_on.append(None)
        else:
            checkpoint = load_checkpoint(path)
            models.append(model_from_checkpoint(checkpoint, device))
            trained_on.append(checkpoint.info.get("data"))
    model = models[0] if len(models) == 1 else Ensemble(models, weights)
    return model, str(trained_on[0]) if trained_on[0] else None


def _check_classes(names: tuple[str, ...], data: DataConfig, report: Report) -> None:
    if len(names) != len(data.names):
        raise ValueError(
            f"the weights know {len(names)} classes ({_some(names)}), {data.yaml_path} has {len(data.names)} "
            f"({_some(data.names)}); give weights and data that belong together"
        )
    if names != data.names:
        index = next(i for i, pair in enumerate(zip(names, data.names, strict=True)) if pair[0] != pair[1])
        report(f"warning: class {index} is {names[index]!r} in the weights, {data.names[index]!r} in {data.yaml_path}")


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _input_sizes(config: ValConfig, model: Model, report: Report) -> tuple[int, ...]:
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
    return tuple(dict.fromkeys(input_size_hw((size,), model.max_stride, report)[0] for size in sizes))


def _evaluate_size(
    config: ValConfig,
    model: Model,
    data: DataConfig,
    samples: Samples,
    size: int,
    device: torch.device,
    folder: Path,
    written: WrittenFiles,
    report: Report,
) -> EvalResult:
    speed_only = config.task == "speed"
    # Times are of whole squares; accuracy is measured on the smallest rectangle, as in YOLOv5. A model that was
    # exported for one size gets that.
    shape_hw = fixed_size_hw(model)
    loader = EvalLoader(
        samples,
        size,
        config.batch_size,
        stride=model.max_stride,
        rect=not speed_only,
        workers=config.workers,
        pad=0.0 if speed_only else 0.5,
        shape_hw=shape_hw,
        ahead=device.type != "cpu",
        strict=config.strict,
        report=report,
    )
    if device.type == "cuda":  # the first pass selects kernels; it is not part of the times
        model(torch.zeros(1, 3, *(shape_hw or (size, size)), device=device))
    pictures = None if speed_only else BatchPictures(folder, data.names, len(samples))
    result = evaluate(
        model,
        loader,
        samples,
        data,
        conf_thres=config.conf_thres,
        iou_thres=config.iou_thres,
        max_det=config.max_det,
        device=device,
        half=config.half,
        progress=True,
        augment=config.augment,
        on_batch=pictures,
    )
    if pictures is None:
        report(speed_line(result, config.batch_size))
        return result
    with written.writing(*(folder / name for name in ("per_class.csv", *BATCH_PICTURES, *RESULT_PICTURES))):
        pictures.write()
        plot_result(result, data.names, folder)
        write_per_class_csv(folder / "per_class.csv", result)
    _save_detections(config, result, data, samples.without_labels_of(result.left_out), folder, written, report)
    for line in result_lines(result, input_size=size, batch_size=config.batch_size, verbose=config.verbose):
        report(line)
    return result


def _save_detections(
    config: ValConfig,
    result: EvalResult,
    data: DataConfig,
    samples: Samples,
    folder: Path,
    written: WrittenFiles,
    report: Report,
) -> None:
    if config.save_txt:
        write_label_files(folder / "labels", result, samples, with_score=config.save_conf, written=written)
        report(f"label files saved to {folder / 'labels'}")
    if config.save_json:
        path = folder / _json_name(config)
        with written.writing(path):
            write_text_atomic(path, detections_as_json(samples, data.category_ids, result.detections))
        report(f"pycocotools on {path}:")
        score_json(path, samples, data.category_ids)
