"""Files made to harm: refused in one line, quickly, in little memory, and no code of theirs runs."""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

import detect
import export
import mgil.engine.evaluation.run
import mgil.engine.export.run
import mgil.engine.training.run
import train
import val
from mgil.datasets.batches.decode import decode_image
from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.image_probe import probe_image
from mgil.datasets.reading.load import load_samples
from mgil.engine.cli import run_cli
from mgil.engine.prediction.config import DetectConfig
from mgil.engine.prediction.run import run_detect
from mgil.engine.weights import pickle_names
from mgil.engine.weights.checkpoints import load_checkpoint, model_from_checkpoint
from mgil.files.recipe import load_recipe
from mgil.networks.detector import build_model
from mgil.tasks.detect.recipe import DetectRecipe
from tests.engine.tiny import Playground
from tests.trust import hostile
from tests.trust.hostile import MEGABYTES, SECONDS
from tests.trust.limits import bounded

HOSTILE_YAMLS, HOSTILE_ARCHITECTURES = hostile.hostile_yamls(), hostile.hostile_architectures()
READERS: dict[str, Callable[[Path], Any]] = {
    "data": load_data_config,
    "model": build_model,
    "hyp": partial(load_recipe, DetectRecipe),
}
# Imported here, as the doors import them late: their own memory is not that of the file that is read.
LOADED = (
    mgil.engine.export.run.run_export,
    mgil.engine.training.run.run_train,
    mgil.engine.evaluation.run.run_val,
    run_detect,
)
DOORS: dict[str, Callable[[], None]] = {
    "detect": detect.main,
    "export": export.main,
    "train": train.main,
    "val": val.main,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], Path]:
    """The hostile checkpoints, and what their code would make."""
    folder = tmp_path_factory.mktemp("corpus")
    return hostile.hostile_checkpoints(folder / "files", folder / "mark"), folder / "mark"


def refusal(action: Callable[[], object], *named: object) -> str:
    """What is said when something is refused: one line that can be printed and names the file."""
    with bounded(SECONDS, MEGABYTES), pytest.raises((ValueError, FileNotFoundError)) as caught:
        action()
    message = str(caught.value)
    assert message.isprintable() and len(message) < 1000, message
    for name in named:
        assert str(name) in message, message
    return message


def test_checkpoints(corpus: tuple[dict[str, Path], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file of the corpus, by the reader that all doors share."""
    monkeypatch.setattr(pickle_names, "MOST_OPERATIONS", 200_000)  # the real limit takes seconds to reach
    files, mark = corpus
    assert len(files) > 50
    for path in files.values():
        refusal(lambda path=path: model_from_checkpoint(path), path)  # type: ignore[misc]
    assert not mark.exists()


def test_the_corpus_is_as_hostile_as_it_says(tmp_path: Path) -> None:
    """The payload runs where pickles are trusted, and the unharmed checkpoint loads."""
    pickle.loads(pickle.dumps(hostile.Harm(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()
    hostile.whole_checkpoint(tmp_path / "whole.pt")
    assert model_from_checkpoint(tmp_path / "whole.pt").num_classes == 3


CHECKPOINT_FLAGS = {
    "detect": ["--weights", "{}", "--nosave"],
    "val": ["--weights", "{}"],
    "export": ["--weights", "{}"],
    "train": ["--weights", "{}", "--data", "{data}", "--cfg", ""],
    "resume": ["--resume", "{}"],
}
THROUGH_DOORS = [
    "code, bare pickle",
    "code, old format",
    "code in the model",
    "code in own format",
    "code in a tensor's bytes",
    "bomb",
    "tensor beyond its memory",
    "a trillion elements in four bytes",
    "laughs",
    "name with escapes",
    "architecture: much upsampling",
]


def through_door(
    name: str, flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """Run a door that refuses: exit code 1 and one line on standard error, which is returned."""
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *flags])
    with bounded(SECONDS, MEGABYTES), pytest.raises(SystemExit) as end:
        run_cli(DOORS[name])
    said = capsys.readouterr().err
    assert end.value.code == 1, said
    assert said.startswith("error: ") and said.count("\n") == 1 and said[:-1].isprintable(), said
    return said


@pytest.mark.parametrize("door", CHECKPOINT_FLAGS)
def test_checkpoints_through_the_doors(
    corpus: tuple[dict[str, Path], Path],
    playground: Playground,
    door: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files, mark = corpus
    monkeypatch.chdir(tmp_path)
    for kind in THROUGH_DOORS:
        flags = [flag.format(files[kind], data=playground.data) for flag in CHECKPOINT_FLAGS[door]]
        said = through_door("train" if door == "resume" else door, flags, monkeypatch, capsys)
        assert str(files[kind]) in said, said
    assert not mark.exists() and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["laughs", "numbers", "texts", "nothing"])
def test_a_checkpoint_to_resume_that_holds_something_else(
    corpus: tuple[dict[str, Path], Path],
    content: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    keys = ("config", "hyp", "progress", "trainer", "image_weights", "random")
    values = {"laughs": hostile.laughs(4, 4), "numbers": 3, "texts": "x", "nothing": None}
    own = torch.load(corpus[0]["code in own format"].with_name("whole.pt"), weights_only=True)
    (tmp_path / "weights").mkdir()
    path = hostile.save(own | {"training": dict.fromkeys(keys, values[content])}, tmp_path / "weights" / "last.pt")
    monkeypatch.chdir(tmp_path)
    assert str(path) in through_door("train", ["--resume", str(path)], monkeypatch, capsys)


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
        ("names: [a]\ngenerate: ../../x", "'digits', 'figures' and 'glyphs' are"),
    ],
)
def test_data_yaml_values(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "set.yaml"
    path.write_text(f"train: images\n{text}\n".replace("'a\\nb'", '"a\\nb"').replace("'a\\0b'", '"a\\0b"'))
    assert words in refusal(lambda: load_data_config(path), path)


def test_a_path_out_of_the_folder_is_read_and_never_written(tmp_path: Path) -> None:
    """`path: ../elsewhere` is how YOLOv5's own files are; what lies there is only read."""
    outside = tmp_path / "elsewhere"
    Playground(tmp_path / "made")
    (tmp_path / "made" / "data").rename(outside)
    (tmp_path / "yaml").mkdir()
    (tmp_path / "yaml" / "set.yaml").write_text("path: ../elsewhere\ntrain: images/train\nnames: [a, b, c]\n")
    before = sorted(outside.rglob("*"))
    samples = load_samples(load_data_config(tmp_path / "yaml" / "set.yaml"), "train", cache_dir=tmp_path / "cache")
    assert len(samples) == 16 and sorted(outside.rglob("*")) == before


def test_links_out_of_the_data_set_are_read_and_never_written(tmp_path: Path, playground: Playground) -> None:
    """Many data sets are folders of links to one copy of the images."""
    images = tmp_path / "images" / "train"
    images.mkdir(parents=True)
    for path in (playground.folder / "data" / "images" / "train").iterdir():
        (images / path.name).symlink_to(path)
    (tmp_path / "labels").symlink_to(playground.folder / "data" / "labels")
    (images / "loop.png").symlink_to(images / "loop.png")
    (images / "secret.png").symlink_to("/etc/passwd")
    (tmp_path / "images" / "again").symlink_to(tmp_path / "images")  # a folder in itself
    (tmp_path / "set.yaml").write_text("train: images\nnames: [red, green, blue]\n")
    lines: list[str] = []
    config = load_data_config(tmp_path / "set.yaml")
    samples = load_samples(config, "train", cache_dir=tmp_path / "cache", report=lines.append)
    assert len(samples) == 16 and any("secret.png" in line for line in lines)
    assert not any("root:" in line for line in lines)


def test_images_that_claim_more_pixels_than_they_have(tmp_path: Path) -> None:
    files = hostile.hostile_images(tmp_path)
    assert len(files) == 4
    for path in files.values():
        assert "too many" in refusal(lambda path=path: probe_image(str(path)))  # type: ignore[misc]
        refusal(lambda path=path: decode_image(str(path)), path)  # type: ignore[misc]


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "..", "a/../../../b", "con\\..\\x", "$\\frac{", "<b>&amp;"])
def test_class_names_do_not_leave_the_folder_of_crops(tmp_path: Path, name: str, playground: Playground) -> None:
    """And do not end a run, whatever the figures' library makes of them."""
    weights = hostile.whole_checkpoint(tmp_path / "weights.pt")
    bias = weights["state_dict"]["model.5.m.0.bias"].view(3, -1)
    bias[:, 4:] = 4.0
    hostile.save(weights | {"names": [name, f"{name} and {name}", "c"]}, tmp_path / "weights.pt")
    config = DetectConfig(
        weights=str(tmp_path / "weights.pt"),
        source=str(playground.folder / "data" / "images" / "val" / "001.png"),
        project=str(tmp_path / "runs"),
        save_crop=True,
        save_csv=True,
        max_det=3,
        device="cpu",
    )
    summary = run_detect(config, report=lambda line: None)
    assert summary.detections == 3
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "weights.pt"]
    assert len(written) == 5 + 1 and all((tmp_path / "runs" / "exp") in path.parents for path in written)
    assert all(path.resolve() == path for path in written)


def test_outputs_never_go_through_links_nor_onto_the_source(tmp_path: Path, playground: Playground) -> None:
    """A folder of results in which links lie in wait; and the source's own folder as the folder of results."""
    hostile.whole_checkpoint(tmp_path / "weights.pt")
    treasure = tmp_path / "treasure"
    treasure.write_text("untouched")
    results = tmp_path / "results"
    (results / "labels").mkdir(parents=True)
    for name in ("001.png", "labels/001.txt", "predictions.csv"):
        (results / name).symlink_to(treasure)
    picture = playground.folder / "data" / "images" / "val" / "001.png"
    options: dict[str, Any] = {"weights": str(tmp_path / "weights.pt"), "exist_ok": True, "device": "cpu"}
    config = DetectConfig(
        source=str(picture),
        project=str(tmp_path),
        name="results",
        save_txt=True,
        save_csv=True,
        conf_thres=0.001,
        **options,
    )
    for name in ("predictions.csv", "labels/001.txt", "001.png"):  # in the order in which they are written
        said = refusal(lambda: run_detect(config, report=lambda line: None), results / name)
        assert "it is not overwritten" in said and (results / name).is_symlink()
        (results / name).unlink()
    run_detect(config, report=lambda line: None)
    assert treasure.read_text() == "untouched" and (results / "001.png").is_file()
    before = picture.read_bytes()
    own = DetectConfig(source=str(picture), project=str(picture.parents[1]), name="val", **options)
    assert "is the source itself" in refusal(lambda: run_detect(own, report=lambda line: None), picture)
    assert picture.read_bytes() == before


def test_names_of_files_cannot_steer_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights.pt"
    hostile.whole_checkpoint(weights)
    name = "a\x1b]0;owned\x07\nerror: b\u202e.png"
    cv2.imwrite(str(tmp_path / "plain.png"), np.zeros((32, 32, 3), np.uint8))
    (tmp_path / "plain.png").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    run_detect(DetectConfig(weights=str(weights), source=str(tmp_path / name), device="cpu"))
    assert all(line.isprintable() for line in capsys.readouterr().out.split("\n"))
    for flags in (["--source", str(tmp_path / f"{name}x")], ["--weights", str(tmp_path / f"{name}.pt")]):
        through_door("detect", ["--weights", str(weights), "--device", "cpu", *flags], monkeypatch, capsys)
    assert all(path.name.isprintable() for path in (tmp_path / "runs").rglob("*"))


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
