"""train.py from the command line: its flags, and ten kinds of bad input in one line each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

import train
from mgil.engine.cli import run_cli
from mgil.engine.training.config import TrainConfig
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.networks.detector import build_model
from tests.engine.tiny import NAMES, TINY, Playground, write_yaml

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _private_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MGIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def ground(tmp_path: Path) -> Playground:
    return Playground(tmp_path / "ground")


def call(monkeypatch: pytest.MonkeyPatch, *flags: object) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", *map(str, flags)])
    run_cli(train.main)


def config_of(monkeypatch: pytest.MonkeyPatch, *flags: str) -> TrainConfig:
    """What the flags become."""
    seen: list[TrainConfig] = []
    monkeypatch.setattr("mgil.engine.training.run.run_train", lambda config, **_: seen.append(config))
    call(monkeypatch, *flags)
    return seen[0]


def test_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, "--help")
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for flag in ("--weights", "--imgsz", "--img", "--img-size", "--multi-scale", "--save-period", "--cos-lr"):
        assert flag in text
    assert "--evolve" in text and "--quad" not in text


def test_no_flags_mean_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config_of(monkeypatch) == TrainConfig()


@pytest.mark.parametrize(
    ("flags", "field", "value"),
    [
        ("--weights w.pt", "weights", "w.pt"),
        ("--cfg yolov5s.yaml", "cfg", "yolov5s.yaml"),
        ("--data coco.yaml", "data", "coco.yaml"),
        ("--hyp scratch-low", "hyp", "scratch-low"),
        ("--epochs 7", "epochs", 7),
        ("--batch-size 4", "batch_size", 4),
        ("--batch 4", "batch_size", 4),
        ("--batch-size -1", "batch_size", -1),
        ("--imgsz 96", "imgsz", 96),
        ("--img 96", "imgsz", 96),
        ("--img-size 96", "imgsz", 96),
        ("--rect", "rect", True),
        ("--resume", "resume", "latest"),
        ("--resume last.pt", "resume", "last.pt"),
        ("--nosave", "nosave", True),
        ("--noval", "noval", True),
        ("--noautoanchor", "noautoanchor", True),
        ("--noplots", "noplots", True),
        ("--cache", "cache", "ram"),
        ("--cache ram", "cache", "ram"),
        ("--image-weights", "image_weights", True),
        ("--device 0,1", "device", "0,1"),
        ("--multi-scale", "multi_scale", True),
        ("--single-cls", "single_cls", True),
        ("--optimizer AdamW", "optimizer", "AdamW"),
        ("--sync-bn", "sync_bn", True),
        ("--workers 0", "workers", 0),
        ("--project p", "project", "p"),
        ("--name n", "name", "n"),
        ("--exist-ok", "exist_ok", True),
        ("--cos-lr", "cos_lr", True),
        ("--label-smoothing 0.1", "label_smoothing", 0.1),
        ("--patience 0", "patience", 0),
        ("--freeze 10", "freeze", (10,)),
        ("--freeze 0 1 2", "freeze", (0, 1, 2)),
        ("--save-period 5", "save_period", 5),
        ("--seed 3", "seed", 3),
        ("--amp bf16", "amp", "bf16"),
        ("--compile", "compile", True),
        ("--strict", "strict", True),
        ("--evolve 0", "evolve", 0),
        ("--download", "download", True),
    ],
)
def test_every_flag_arrives(monkeypatch: pytest.MonkeyPatch, flags: str, field: str, value: Any) -> None:
    default, config = TrainConfig().as_dict(), config_of(monkeypatch, *flags.split())
    assert getattr(config, field) == value
    changed = {key for key, given in config.as_dict().items() if given != default[key]}
    assert changed <= {field}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--evolve_population p.csv", "Optuna"),
        ("--resume_evolve", "--evolve N --resume FOLDER"),
        ("--quad", "--quad"),
        ("--bucket gs://b", "--bucket"),
        ("--entity me", "--entity"),
        ("--upload_dataset", "--upload_dataset"),
        ("--bbox_interval 1", "--bbox_interval"),
        ("--artifact_alias latest", "--artifact_alias"),
        ("--local_rank 0", "torchrun"),
    ],
)
def test_flags_left_out_give_their_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: str, words: str
) -> None:
    message = error_of(monkeypatch, capsys, *flags.split())
    assert message.startswith(f"error: {flags.split()[0]} is not available: ") and words in message


@pytest.mark.parametrize(
    "flags", ["--epochs 0", "--epochs x", "--imgsz -1", "--cache disk", "--optimizer Lion", "--seed -1", "--epoch 3"]
)
def test_bad_flags_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, *flags.split())
    assert stopped.value.code == 2
    assert flags.split()[0] in capsys.readouterr().err.splitlines()[-1]


def error_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *flags: object) -> str:
    """The one line that a command ends with."""
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, *flags)
    return checked(stopped.value.code, capsys.readouterr().err)


def checked(code: Any, error: str) -> str:
    assert code not in (0, None)
    lines = error.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), error
    return lines[0]


def flags_of(ground: Playground, **changes: object) -> list[object]:
    """The playground's run as flags."""
    values = {"cfg": ground.cfg, "hyp": ground.hyp, "data": ground.data, "imgsz": 32, "epochs": 1, "batch": 8}
    values |= {"workers": 0, "device": "cpu", "noplots": True, "noval": True} | changes
    return [text for key, value in values.items() for text in ([f"--{key}"] if value is True else [f"--{key}", value])]


def edit_label(ground: Playground, text: str, number: int = 1) -> None:
    (Path(ground.data).parent / "labels" / "train" / f"{number:03}.txt").write_text(text)


def missing_data(ground: Playground, folder: Path) -> tuple[dict[str, object], list[str]]:
    return {"data": "helmets.yaml"}, ["helmets.yaml"]


def missing_images(ground: Playground, folder: Path) -> tuple[dict[str, object], list[str]]:
    data = write_yaml(folder / "d.yaml", {"train": "nowhere/images", "val": "nowhere/images", "names": ["a"]})
    return {"data": data}, ["nowhere", "d.yaml"]


def empty_data(ground: Playground, folder: Path) -> tuple[dict[str, object], list[str]]:
    (folder / "bare").mkdir()
    return {"data": write_yaml(folder / "d.yaml", {"train": "bare", "val": "bare", "names": ["a"]})}, ["bare", "images"]


def wrong_class(ground: Playground, folder: Path) -> tuple[dict[str, object], list[str]]:
    edit_label(ground, "3 0.5 0.5 0.2 0.2\n")
    return {"strict": True}, ["001.txt:1", "class id 3", "3 classes"]


def wrong_classes_everywhere(ground: Playground, folder: Path) -> tuple[dict[str, object], list[str]]:
    for number in range(1, 17):
        edit_label(ground, "7 0.5 0.5 0.2 0.2\n", number)
    return {}, ["squares.yaml", "class id 7"]


def four_columns(ground: Playground, folder: Path) -> tuple[dict[str, object], list[str]]:
    edit_label(ground, "0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.2\n")
    return {"strict": True}, ["001.txt:2", "found 4"]


def truncated_image(ground: Playground, folder: Path) -> tuple[dict[str, object], list[str]]:
    path = Path(ground.data).parent / "images" / "train" / "001.png"
    jpeg = cv2.imencode(".jpg", cv2.imread(str(path)))[1].tobytes()
    path.unlink()
    path.with_suffix(".jpg").write_bytes(jpeg[: len(jpeg) // 2])
    return {"strict": True}, ["001.jpg"]


def truncated_checkpoint(ground: Playground, folder: Path) -> tuple[dict[str, object], list[str]]:
    path = folder / "half.pt"
    save_checkpoint(path, build_model(TINY, names=NAMES), {})
    path.write_bytes(path.read_bytes()[:5000])
    return {"weights": path}, ["half.pt", "damaged"]


def code_in_a_pickle(ground: Playground, folder: Path) -> tuple[dict[str, object], list[str]]:
    torch.save({"model": MakesFolder(str(folder / "mark"))}, folder / "evil.pt")
    return {"weights": folder / "evil.pt"}, ["evil.pt", "refused", f"{os.mkdir.__module__}.mkdir"]


class MakesFolder:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def unknown_recipe(ground: Playground, folder: Path) -> tuple[dict[str, object], list[str]]:
    return {"hyp": "hyp.scratch-lowest.yaml"}, ["hyp.scratch-lowest.yaml", "hyp.scratch-low.yaml"]


def typo_in_recipe(ground: Playground, folder: Path) -> tuple[dict[str, object], list[str]]:
    return {"hyp": write_yaml(folder / "h.yaml", {"mosiac": 1.0})}, ["h.yaml", "mosiac", "'mosaic'"]


def typo_in_model(ground: Playground, folder: Path) -> tuple[dict[str, object], list[str]]:
    backbone = [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "MGLI", [16]]]
    return {"cfg": write_yaml(folder / "m.yaml", TINY | {"backbone": backbone})}, ["m.yaml", "row 1", "MGLI", "'MGIL'"]


def typo_in_data(ground: Playground, folder: Path) -> tuple[dict[str, object], list[str]]:
    return {"data": write_yaml(folder / "d.yaml", {"trian": "a", "val": "b", "names": ["a"]})}, ["d.yaml", "trian"]


def broken_yaml(ground: Playground, folder: Path) -> tuple[dict[str, object], list[str]]:
    (folder / "d.yaml").write_text("train: images\nval: [images\nnames: {0: a}\n")
    return {"data": folder / "d.yaml"}, ["d.yaml", "line"]


def unwritable_output(ground: Playground, folder: Path) -> tuple[dict[str, object], list[str]]:
    (folder / "taken").write_text("")
    return {"project": folder / "taken"}, ["taken"]


def no_such_device(ground: Playground, folder: Path) -> tuple[dict[str, object], list[str]]:
    return {"device": "77"}, ["--device 77"]


def frozen_row_too_far(ground: Playground, folder: Path) -> tuple[dict[str, object], list[str]]:
    return {"freeze": 9}, ["--freeze"]


def resume_from_weights_for_inference(ground: Playground, folder: Path) -> tuple[dict[str, object], list[str]]:
    save_checkpoint(folder / "best.pt", build_model(TINY, names=NAMES), {})
    return {"resume": folder / "best.pt"}, ["best.pt", "made for inference"]


BAD_INPUT: list[Callable[[Playground, Path], tuple[dict[str, object], list[str]]]] = [
    missing_data,
    missing_images,
    empty_data,
    wrong_class,
    wrong_classes_everywhere,
    four_columns,
    truncated_image,
    truncated_checkpoint,
    code_in_a_pickle,
    unknown_recipe,
    typo_in_recipe,
    typo_in_model,
    typo_in_data,
    broken_yaml,
    unwritable_output,
    no_such_device,
    frozen_row_too_far,
    resume_from_weights_for_inference,
]


@pytest.mark.parametrize("prepare", BAD_INPUT, ids=lambda prepare: prepare.__name__)
def test_bad_input_is_one_line_that_names_the_culprit(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ground: Playground,
    tmp_path: Path,
    prepare: Callable[[Playground, Path], tuple[dict[str, object], list[str]]],
) -> None:
    changes, words = prepare(ground, tmp_path)
    message = error_of(monkeypatch, capsys, *flags_of(ground, **changes))
    assert all(word in message for word in words), message
    assert not (tmp_path / "runs").exists(), "no empty run folder is left behind"
    assert not (tmp_path / "mark").exists()


def test_bad_lines_cost_only_themselves_without_strict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ground: Playground, tmp_path: Path
) -> None:
    four_columns(ground, tmp_path)
    truncated_image(ground, tmp_path)
    edit_label(ground, "3 0.5 0.5 0.2 0.2\n", 2)
    call(monkeypatch, *flags_of(ground))
    out = capsys.readouterr().out
    assert "001.jpg" in out and "002.txt:1: class id 3" in out and "train: 15 images" in out
    assert (tmp_path / "runs" / "train" / "exp" / "weights" / "last.pt").is_file()


@pytest.mark.parametrize(
    "prepare",
    [pytest.param(missing_data, marks=pytest.mark.nightly), code_in_a_pickle],
    ids=lambda prepare: prepare.__name__,
)
def test_bad_input_to_the_real_program(ground: Playground, tmp_path: Path, prepare: Any) -> None:
    changes, words = prepare(ground, tmp_path)
    result = subprocess.run(
        [sys.executable, REPOSITORY / "train.py", *map(str, flags_of(ground, **changes))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    message = checked(result.returncode, result.stderr)
    assert all(word in message for word in words), message
    assert not (tmp_path / "mark").exists()


def test_stopped_by_hand(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stopped:
        run_cli(interrupt)
    assert stopped.value.code == 130
    assert "stopped" in capsys.readouterr().err


def test_a_mistake_of_our_own_keeps_its_traceback() -> None:
    def broken() -> None:
        raise KeyError("inner")

    with pytest.raises(KeyError, match="inner"):
        run_cli(broken)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\nlines"), "error: two lines"),
        (ValueError(), "error: ValueError"),
        (PermissionError(13, "Permission denied", "runs/exp"), "error: runs/exp: Permission denied"),
        (OSError("the disk is full"), "error: the disk is full"),
        (FloatingPointError("the loss is nan"), "error: the loss is nan"),
    ],
)
def test_errors_become_one_line(capsys: pytest.CaptureFixture[str], error: Exception, line: str) -> None:
    def fails() -> None:
        raise error

    with pytest.raises(SystemExit) as stopped:
        run_cli(fails)
    assert checked(stopped.value.code, capsys.readouterr().err) == line
