"""YAML, JSON and special files made to harm: refused in one line, quickly, in little memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from mgil.datasets.batches.decode import decode_image
from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.image_probe import probe_image
from mgil.engine.weights.checkpoints import load_checkpoint
from mgil.networks.detector import build_model
from mgil.tasks.detect.recipe import DetectRecipe
from mgil.tasks.recipe import load_recipe
from tests.trust import hostile
from tests.trust.limits import refusal

HOSTILE_YAMLS, HOSTILE_ARCHITECTURES = hostile.hostile_yamls(), hostile.hostile_architectures()
READERS: dict[str, Callable[[Path], Any]] = {
    "data": load_data_config,
    "model": build_model,
    "hyp": partial(load_recipe, DetectRecipe),
}


@pytest.mark.parametrize("reader", READERS)
def test_yaml_that_is_no_configuration(tmp_path: Path, reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "given.yaml"
    for content in HOSTILE_YAMLS.values():
        path.write_bytes(content)
        refusal(lambda: READERS[reader](path), path)
    assert [item.name for item in tmp_path.iterdir()] == ["given.yaml"]


def test_architectures_without_measure(tmp_path: Path) -> None:
    """As YAML files; as part of a checkpoint they stand in the corpus."""
    path = tmp_path / "net.yaml"
    for name, content in HOSTILE_ARCHITECTURES.items():
        if name == "anchors":  # too long for a YAML file
            refusal(lambda content=content: build_model(content))  # type: ignore[misc]
            continue
        path.write_text(yaml.safe_dump(content))
        refusal(lambda: build_model(path), "net.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("names: ['a\\nb']", "name of class 0 is"),
        ('names: ["\\e]0;owned\\a"]', "name of class 0 is"),
        ('names: ["\\u202Egnp.exe"]', "name of class 0 is"),
        (f"names: [{'x' * 300}]", "300 characters"),
        ("nc: 1000000000\nnames: [a]", "nc is 1000000000"),
        ("names: [a]\npath: 'a\\0b'", "not the name of a folder"),
        ("names: [a]\nimgsz: 1000000000000000000000", "imgsz"),
        ("names: [a]\ngenerate: ../../x", "only 'digits' is"),
    ],
)
def test_data_yaml_values(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "set.yaml"
    path.write_text(f"train: images\n{text}\n".replace("'a\\nb'", '"a\\nb"').replace("'a\\0b'", '"a\\0b"'))
    assert words in refusal(lambda: load_data_config(path), path)


def test_json_with_laughs_or_numbers_without_end(tmp_path: Path) -> None:
    """JSON has no aliases; nesting and long numbers it has."""
    for number, text in enumerate(
        ("[" * 100_000, '{"images": ' + "9" * 10_000 + "}", "{" * 10, "\0", '"' + "\\ud800" * 9)
    ):
        path = tmp_path / f"{number}.json"
        path.write_text(text)
        (tmp_path / "set.yaml").write_text(f"train: {path.name}\n")
        refusal(lambda: load_data_config(tmp_path / "set.yaml"), path)
    path.write_text(json.dumps({"images": [], "annotations": [], "categories": [{"id": 1, "name": hostile.ESCAPE}]}))
    refusal(lambda: load_data_config(tmp_path / "set.yaml"), path)


def test_special_files_are_not_waited_for(tmp_path: Path) -> None:
    """A named pipe that nobody writes to, and a device without an end."""
    for name in ("pipe.pt", "pipe.yaml"):
        os.mkfifo(tmp_path / name)
        reader = load_checkpoint if name.endswith(".pt") else partial(load_recipe, DetectRecipe)
        refusal(lambda name=name, reader=reader: reader(tmp_path / name), name)  # type: ignore[misc]
    refusal(lambda: load_checkpoint("/dev/zero"), "/dev/zero")
    os.mkfifo(tmp_path / "pipe.png")
    refusal(lambda: probe_image(str(tmp_path / "pipe.png")))
    refusal(lambda: decode_image(str(tmp_path / "pipe.png")), "pipe.png")
