"""The options of a training run check themselves."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from mgil.engine.training.config import MAY_CHANGE_ON_RESUME, TrainConfig, config_from_dict, frozen_rows


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": -1}, ["--epochs", "-1"]),
        ({"epochs": 2.5}, ["--epochs", "2.5"]),
        ({"epochs": True}, ["--epochs", "True"]),
        ({"epochs": "3"}, ["--epochs", "'3'"]),
        ({"imgsz": -32}, ["--imgsz", "-32"]),
        ({"imgsz": 31}, ["--imgsz", "31", "32"]),
        ({"workers": -1}, ["--workers", "-1"]),
        ({"patience": -1}, ["--patience", "-1"]),
        ({"seed": -1}, ["--seed", "-1"]),
        ({"batch_size": -2}, ["--batch-size", "-2"]),
        ({"label_smoothing": 1.0}, ["--label-smoothing", "1.0"]),
        ({"label_smoothing": -0.1}, ["--label-smoothing", "-0.1"]),
        ({"label_smoothing": float("nan")}, ["--label-smoothing", "nan"]),
        ({"optimizer": "Lion"}, ["--optimizer", "Lion", "AdamW"]),
        ({"cache": "disk"}, ["--cache disk is not available", "beside your images", "ram", "none"]),
        ({"amp": "yes"}, ["--amp", "yes", "bf16"]),
        ({"save_period": 0}, ["--save-period", "0"]),
        ({"save_period": -2}, ["--save-period", "-2"]),
        ({"freeze": (3, -1)}, ["--freeze", "-1"]),
        ({"rect": True, "multi_scale": True}, ["--rect", "--multi-scale"]),
    ],
)
def test_a_bad_value_names_its_flag(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        TrainConfig(**options)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": -1, "epochs": 3, "imgsz": 32, "label_smoothing": 0.99, "patience": 0, "workers": 0},
        {"freeze": (10,), "save_period": 1, "rect": True, "optimizer": "AdamW", "cache": "none", "amp": "bf16"},
        {"freeze": (1, 3, 5), "name": "größe", "resume": "runs/train/exp"},
    ],
)
def test_round_trip(options: dict[str, Any]) -> None:
    config = TrainConfig(**options)
    values = config.as_dict()
    assert config_from_dict(values) == config
    assert all(type(value) in (str, int, float, bool, list) for value in values.values())  # what YAML can hold


@pytest.mark.parametrize(
    ("freeze", "rows"),
    [((0,), ()), ((3,), (0, 1, 2)), ((0, 1), (0, 1)), ((5, 2), (5, 2)), ((0, 0), (0, 0)), ((), ())],
)
def test_one_number_freezes_the_first_rows_a_list_those_named(freeze: tuple[int, ...], rows: tuple[int, ...]) -> None:
    assert frozen_rows(freeze) == rows


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="'batchsize'.*'batch_size'"):
        config_from_dict({"batchsize": 8})
    with pytest.raises(ValueError, match="'zzz'"):
        config_from_dict({"zzz": 8})


def test_a_bad_value_in_a_mapping_is_named() -> None:
    with pytest.raises(ValueError, match="--epochs -3"):
        config_from_dict(TrainConfig().as_dict() | {"epochs": -3})


def test_what_may_change_on_resume_exists() -> None:
    assert set(MAY_CHANGE_ON_RESUME) <= {item.name for item in dataclasses.fields(TrainConfig)}
