"""The data set that weights were trained on: whether it is still there, and whether another one has their classes."""

from __future__ import annotations

import os

from mgil.datasets.reading.config import DataConfig, load_data_config
from mgil.files.text import Report


def load_trained_on(data: str, weights: str) -> DataConfig:
    """Read the data set YAML that a checkpoint names.

    Args:
        data: Its path in the checkpoint.
        weights: The checkpoint's own path.

    Raises:
        FileNotFoundError: It is gone; says that --data gives its new place.
        ValueError: As `load_data_config`.
    """
    try:
        return load_data_config(data)
    except FileNotFoundError as error:
        if os.path.isfile(data):  # something that it names is missing
            raise
        raise FileNotFoundError(gone(data, weights)) from error


def default_data(names: tuple[str, ...]) -> DataConfig:
    """The data set of weights that name none: YOLOv5's default for those with its classes, else the embedded one."""
    yolov5s = load_data_config("coco128.yaml")
    return yolov5s if yolov5s.names == names else load_data_config("digits.yaml")


def gone(data: str, weights: object) -> str:
    """What to do where the data set YAML that a checkpoint names is not there any more."""
    return f"{weights} was trained on {data}, which is not there any more; give its new place with --data NEW.yaml"


def check_classes(names: tuple[str, ...], data: DataConfig, report: Report, one_class_flag: str = "") -> None:
    """Hold the classes of weights against a data set's.

    Args:
        names: Of the classes in the weights.
        data: The data set.
        report: Told where the classes are called otherwise.
        one_class_flag: Makes one class of the data set's, where the command has such a flag.

    Raises:
        ValueError: There are not as many.
    """
    if len(names) != len(data.names):
        advice = "give weights and data that belong together"
        if len(names) == 1 and one_class_flag:
            advice = f"give {one_class_flag} if the weights were trained with it, else weights that belong to the data"
        raise ValueError(f"the weights know {_counted(names)}, {data.yaml_path} has {_counted(data.names)}; {advice}")
    if names != data.names:
        index = next(i for i, pair in enumerate(zip(names, data.names, strict=True)) if pair[0] != pair[1])
        report(f"warning: class {index} is {names[index]!r} in the weights, {data.names[index]!r} in {data.yaml_path}")


def _counted(names: tuple[str, ...]) -> str:
    some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} {'class' if len(names) == 1 else 'classes'} ({some})"
