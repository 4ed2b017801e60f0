"""A flag is written once: its field gives the parser its name, help, default and range, and Python the same range."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import math
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch

from mgil.engine.cli import parse, parser_for
from mgil.engine.evaluation.config import ValConfig
from mgil.engine.export.config import ExportConfig
from mgil.engine.prediction.config import DetectConfig
from mgil.engine.training.config import TrainConfig
from mgil.engine.training.setup import DEFAULT_BATCH, DEFAULT_EPOCHS
from mgil.files.flags import (
    Kind,
    Refused,
    as_plain,
    build,
    check_fields,
    flag,
    flag_of,
    flags,
    fraction,
    from_keywords,
    from_plain,
    natural_int,
    one_of,
    positive_int,
    real,
    refused,
    switch,
    text,
    whole,
)
from mgil.tasks.detect.options import PredictOptions
from mgil.tasks.detect.suppression import Suppression
from mgil.tasks.registry import task_named

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS: dict[str, type] = {"train": TrainConfig, "val": ValConfig, "detect": DetectConfig, "export": ExportConfig}
REQUIRED = {"train": [], "val": ["--weights", "w.pt"], "detect": [], "export": ["--weights", "w.pt"]}
# The command lines of YOLOv5 v7.0, flag by flag, each with a value that it takes there.
YOLOV5 = {
    "train": [
        *("--weights w.pt", "--cfg c.yaml", "--data d.yaml", "--hyp h.yaml", "--epochs 3", "--batch-size 16"),
        *("--batch-size -1", "--imgsz 640", "--img 640", "--img-size 640", "--rect", "--resume", "--resume last.pt"),
        *("--nosave", "--noval", "--noautoanchor", "--noplots", "--evolve", "--evolve 300", "--bucket b", "--cache"),
        *("--cache ram", "--image-weights", "--device 0,1", "--multi-scale", "--single-cls", "--optimizer SGD"),
        *("--optimizer Adam", "--optimizer AdamW", "--sync-bn", "--workers 8", "--project p", "--name n", "--quad"),
        *("--exist-ok", "--cos-lr", "--label-smoothing 0.1", "--patience 100", "--freeze 10", "--freeze 0 1 2"),
        *("--save-period -1", "--seed 0", "--local_rank -1", "--entity e", "--upload_dataset", "--bbox_interval 2"),
        "--artifact_alias latest",
    ],
    "val": [
        *("--data d.yaml", "--weights a.pt b.pt", "--batch-size 32", "--imgsz 640", "--img 640", "--img-size 640"),
        *("--conf-thres 0.001", "--iou-thres 0.6", "--max-det 300", "--task train", "--task val", "--task test"),
        *("--task speed", "--task study", "--device cpu", "--workers 8", "--single-cls", "--augment", "--verbose"),
        *("--save-txt", "--save-hybrid", "--save-txt --save-conf", "--save-json", "--project p", "--name n"),
        *("--exist-ok", "--half", "--dnn"),
    ],
    "detect": [
        *("--weights w.pt", "--source 0", "--data d.yaml", "--imgsz 640", "--img 640 480", "--img-size 640"),
        *("--conf-thres 0.25", "--iou-thres 0.45", "--max-det 1000", "--device 0", "--view-img", "--save-txt"),
        *("--save-format 0", "--save-csv", "--save-txt --save-conf", "--save-crop", "--nosave", "--classes 0 2 3"),
        *("--agnostic-nms", "--augment", "--visualize", "--update", "--project p", "--name n", "--exist-ok"),
        *("--line-thickness 3", "--hide-labels", "--hide-conf", "--half", "--dnn", "--vid-stride 1"),
    ],
    "export": [
        *("--data d.yaml", "--weights w.pt", "--imgsz 640 640", "--img 640", "--img-size 640", "--batch-size 1"),
        *("--device cpu", "--half", "--inplace", "--keras", "--optimize", "--int8", "--per-tensor", "--dynamic"),
        *("--cache c", "--simplify", "--opset 17", "--verbose", "--workspace 4", "--nms", "--agnostic-nms"),
        *("--nms --topk-per-class 100", "--nms --topk-all 100", "--nms --iou-thres 0.45", "--nms --conf-thres 0.25"),
        "--include torchscript onnx openvino engine coreml",
    ],
}
COMMAND_LINES = [(name, line) for name, lines in YOLOV5.items() for line in lines]


@dataclass(frozen=True)
class Toy:
    """A field of every sort."""

    colours: tuple[str, ...] = flag(nargs="+", help="which colours")
    depth: int | None = flag(None, kind=positive_int, aliases=("--deep", "-d"), help="how deep")
    shade: str = flag("auto", choices=("auto", "100%"), nargs="?", const="100%", help="50 % or so")
    sides: tuple[int, ...] = flag((), kind=whole(2, 9), nargs="+", most=2, together="one or two sides", help="sides")
    loud: bool = flag(False, help="say more")
    python_only: int = 3

    refuses = (refused("--evolve-toy", why="toys do not"),)

    def __post_init__(self) -> None:
        check_fields(self)


# Kinds ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (positive_int, {"1": 1, "4294967295": 2**32 - 1}, ["0", "-1", "x", "1.0", "", "4294967296"]),
        (natural_int, {"0": 0}, ["-1", "nan"]),
        (whole(1, also=(-1,)), {"-1": -1, "1": 1}, ["0", "-2"]),
        (whole(2, 9), {"2": 2, "9": 9}, ["1", "10"]),
        (fraction, {"0": 0.0, "1": 1.0, "1e-3": 0.001}, ["-0.1", "1.1", "nan", "inf", "x"]),
        (real("a number above 0", lambda value: 0 < value < math.inf), {"4": 4.0}, ["0", "inf", "nan"]),
        (one_of(("a", "b")), {"b": "b"}, ["c", "", "ab"]),
        (text, {"": "", "x": "x"}, []),
    ],
)
def test_a_kind_reads_text(kind: Kind, good: dict[str, Any], bad: list[str]) -> None:
    for word, value in good.items():
        assert kind(word) == value and type(kind(word)) is type(value)
        assert kind.accepts(value)
    for word in bad:
        with pytest.raises(argparse.ArgumentTypeError) as caught:
            kind(word)
        assert str(caught.value) == f"{word!r} is not {kind.wanted}"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (positive_int, True),
        (positive_int, "3"),
        (positive_int, 3.0),
        (positive_int, None),
        (fraction, True),
        (fraction, "0.5"),
        (fraction, float("nan")),
        (one_of(("1",)), 1),
        (text, 3),
        (text, None),
        (switch, 1),
        (switch, "yes"),
    ],
)
def test_a_kind_refuses_other_types(kind: Kind, value: Any) -> None:
    assert not kind.accepts(value)


def test_a_word_that_yolov5_has_is_refused_with_the_reason() -> None:
    kind = one_of(("ram",), {"disk": "it would fill up"})
    assert kind.wanted == "one of ram" and kind("ram") == "ram"
    for given, message in (("disk", "disk is not available: it would fill up"), ("dusk", "'dusk' is not one of ram")):
        with pytest.raises(argparse.ArgumentTypeError) as caught:
            kind(given)
        assert str(caught.value) == message


def test_a_value_of_another_library_is_refused_in_our_words() -> None:
    for value in (np.float32(0.5), np.zeros(2), torch.ones(1)):
        with pytest.raises(ValueError, match="^--conf-thres .* is not a number from 0 to 1$"):
            from_keywords(PredictOptions, {"conf": value})


# Configs from Python -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "--depth 0 is not an integer of 1 or more, up to 4294967295"),
        ({"depth": True}, "--depth True is not an integer of 1 or more, up to 4294967295"),
        ({"shade": "dark"}, "--shade 'dark' is not one of auto, 100%"),
        ({"sides": (2, 99)}, "--sides 2 99: 99 is not an integer of 2 or more, up to 9"),
        ({"sides": (2, 3, 4)}, "--sides 2 3 4: give one or two sides"),
        ({"sides": 2}, "--sides 2: give a tuple, also of one value: (2,)"),
        ({"colours": "red"}, "--colours 'red': give a tuple, also of one value: ('red',)"),
        ({"colours": (3,)}, "--colours 3: 3 is not text"),
        ({"colours": ()}, "--colours: give at least one"),
        ({"colours": []}, "--colours: give at least one"),
        ({"loud": 1}, "--loud 1 is not True or False"),
    ],
)
def test_a_bad_value_from_python_names_its_flag(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Toy(**{"colours": ("red",)} | options)
    assert str(caught.value) == message


def test_lists_become_tuples_and_defaults_are_right() -> None:
    toy = Toy(["red", "blue"], sides=[3])
    assert (toy.colours, toy.sides, toy.depth) == (("red", "blue"), (3,), None)
    assert Toy((Path("red"),), depth=None, sides=()).sides == ()


def test_a_path_becomes_its_text() -> None:
    """Programs compare and split it, and write it to files of plain values."""
    config = TrainConfig(data=Path("a") / "b.yaml", weights=Path("c.pt"), project=Path("runs"))  # type: ignore[arg-type]
    assert (config.data, config.weights, config.project) == (str(Path("a/b.yaml")), "c.pt", "runs")
    assert DetectConfig(weights=(Path("a.pt"),)).weights == ("a.pt",)  # type: ignore[arg-type]


def test_plain_values_and_back() -> None:
    toy = Toy(("red", "blue"), depth=2)
    plain = as_plain(toy)
    assert plain == {"colours": ["red", "blue"], "depth": 2, "shade": "auto", "sides": [], "loud": False,
                     "python_only": 3}  # fmt: skip
    assert from_plain(Toy, plain, "toy option") == toy
    with pytest.raises(ValueError, match="^unknown toy option 'colour'; did you mean 'colours'[?]$"):
        from_plain(Toy, {"colour": 1}, "toy option")
    with pytest.raises(
        ValueError, match="^unknown toy option 'zzz'; known are colours, depth, shade, sides, loud, python_only$"
    ):
        from_plain(Toy, {"zzz": 1}, "toy option")


def test_two_keywords_for_one_option_are_refused() -> None:
    with pytest.raises(ValueError, match="^deep=1 and depth=2 are the same option; give one of them$"):
        from_keywords(Toy, {"colours": ("red",), "deep": 1, "depth": 2})
    assert from_keywords(Toy, {"colours": ("red",), "deep": 1}) == Toy(("red",), depth=1)


# Parsers -------------------------------------------------------------------------------------------------------------
def line_of(capsys: pytest.CaptureFixture[str], config: type, *arguments: str, status: int = 2) -> str:
    """The one line on standard error in which a command line ends."""
    with pytest.raises(SystemExit) as ended:
        parse(config, arguments)
    assert ended.value.code == status
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("", "error: the following arguments are required: --colours"),
        ("--colours r --depth 0", "error: --depth/--deep/-d: '0' is not an integer of 1 or more, up to 4294967295"),
        ("--colours r --shade dark", "error: --shade: 'dark' is not one of auto, 100%"),
        ("--colours r --sides 1", "error: --sides: '1' is not an integer of 2 or more, up to 9"),
        ("--colours r --sides 2 3 4", "error: --sides 2 3 4: give one or two sides"),
        ("--colour r", "error: --colour: no such flag; did you mean --colours?"),
        ("--colours r --zzz", "error: --zzz: no such flag; --help lists them"),
        ("--colours r --python-only 4", "error: --python-only: no such flag; --help lists them"),
        ("--colours r --loud yes", "error: unrecognized arguments: yes"),
    ],
)
def test_a_bad_command_line_ends_in_one_line(arguments: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert line_of(capsys, Toy, *arguments.split()) == line


def test_a_refused_flag_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--evolve-toy"], ["--evolve-toy", "3"]):
        assert line_of(capsys, Toy, *arguments, status=1) == "error: --evolve-toy is not available: toys do not"


def test_a_command_line_becomes_a_config() -> None:
    assert parse(Toy, ["--colours", "r"]) == Toy(("r",))
    assert parse(Toy, ["--colours", "r", "g", "-d", "3", "--shade", "--sides", "2", "3", "--loud"]) == Toy(
        ("r", "g"), depth=3, shade="100%", sides=(2, 3), loud=True
    )


def test_given_holds_the_given_flags_alone() -> None:
    parser = parser_for(TrainConfig, description="")
    assert parser.given([]) == {}
    # also where the value is the default: a resumed run is checked for what was asked
    assert parser.given(["--img", "64", "--patience", "100", "--rect"]) == {"imgsz": 64, "patience": 100, "rect": True}


def test_several_configs_make_one_parser(capsys: pytest.CaptureFixture[str]) -> None:
    parser = parser_for(TrainConfig, Toy, description="both")
    given = parser.given(["--epochs", "2", "--colours", "r", "--deep", "3"])
    assert build(TrainConfig, given) == TrainConfig(epochs=2)
    assert build(Toy, given) == Toy(("r",), depth=3)
    for arguments in (["--colours", "r", "--quad"], ["--evolve-toy"]):
        with pytest.raises(SystemExit):
            parser.given(arguments)
        assert "is not available" in capsys.readouterr().err
    with pytest.raises(argparse.ArgumentError, match="conflicting option string"):
        parser_for(TrainConfig, ValConfig, description="both have --weights")


def test_help_is_safe_from_percent_signs(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass(frozen=True)
    class Odd:
        source: str = flag("/home/50%s/x", help="100 % of it")

    with pytest.raises(SystemExit) as ended:
        parse(Odd, ["--help"])
    assert ended.value.code == 0
    assert "100 % of it (default: /home/50%s/x)" in capsys.readouterr().out


# The four commands ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", CONFIGS)
def test_every_field_is_a_flag_with_help_and_a_range(name: str) -> None:
    config = CONFIGS[name]
    assert [item.name for item, _ in flags(config)] == [item.name for item in dataclasses.fields(config)]
    hints = get_type_hints(config)
    for item, its in flags(config):
        assert its.help.strip() and its.help == its.help.strip(), item.name
        parts = {hints[item.name], *get_args(hints[item.name])}
        parts |= {inner for part in parts for inner in get_args(part)}
        assert (its.kind is switch) == (bool in parts), item.name
        assert its.is_tuple == any(getattr(part, "__origin__", None) is tuple for part in parts), item.name
        if parts & {int, float}:  # numbers are held to a range, on the command line and in Python
            assert its.kind is not text and not its.kind.choices, item.name
            assert not its.kind.accepts(float("nan")) and not its.kind.accepts(math.inf), item.name
        assert item.default is MISSING or item.default is None or its.problem(item.default) == "" or not item.default


@pytest.mark.parametrize("name", CONFIGS)
def test_every_flag_is_there_once(name: str) -> None:
    config = CONFIGS[name]
    spelled = [word for item, its in flags(config) for word in (flag_of(item.name), *its.aliases)]
    left_out: tuple[Refused, ...] = config.refuses  # type: ignore[attr-defined]
    spelled += [word for its in left_out for word in its.names]
    assert len(spelled) == len(set(spelled))
    assert all(its.why.strip() for its in left_out)
    assert all(word.startswith("--") for word in spelled)


@pytest.mark.parametrize(("name", "line"), COMMAND_LINES, ids=lambda value: value)
def test_every_flag_of_yolov5_is_taken_or_refused_with_a_reason(
    name: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = CONFIGS[name]
    word = next(part for part in reversed(line.split()) if part.startswith("--"))
    left_out = {word for its in config.refuses for word in its.names}  # type: ignore[attr-defined]
    arguments = [*REQUIRED[name], *line.split()]
    if word in left_out:
        with pytest.raises(SystemExit) as ended:
            parse(config, arguments)
        assert ended.value.code == 1
        assert capsys.readouterr().err.startswith(f"error: {word} is not available: ")
    else:
        parse(config, arguments)
        (field,) = (item.name for item, its in flags(config) if word in (flag_of(item.name), *its.aliases))
        assert field in parser_for(config, description="").given(arguments)


@pytest.mark.parametrize("name", CONFIGS)
def test_no_flags_mean_the_defaults_and_help_shows_them(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIGS[name]
    required = {item.name: "w.pt" for item, _ in flags(config) if item.default is MISSING}
    required = {key: (value,) if name == "val" else value for key, value in required.items()}
    assert parse(config, REQUIRED[name]) == config(**required)
    monkeypatch.setenv("COLUMNS", "1000")  # a flag's help on one line
    with pytest.raises(SystemExit):
        parse(config, ["--help"])
    entries = capsys.readouterr().out.split("\n  --")[1:]
    assert len(entries) == len(dataclasses.fields(config))
    for (item, its), entry in zip(flags(config), entries, strict=True):
        names, text = entry.split(None, 1)
        assert f"--{names.rstrip(',')}" == flag_of(item.name) and all(alias in text for alias in its.aliases)
        value = " ".join(map(str, item.default)) if isinstance(item.default, tuple) else item.default
        expected = its.help if item.default in (None, MISSING, "", False, 0, ()) else f"{its.help} (default: {value})"
        assert text.split("\n\n")[0].rstrip().endswith(expected), item.name


def test_defaults_that_depend_are_told_as_they_are() -> None:
    train = {item.name: its.help for item, its in flags(TrainConfig)}
    own = {"epochs": DEFAULT_EPOCHS, "batch_size": DEFAULT_BATCH, "imgsz": task_named("detect").default_imgsz}
    for name, value in own.items():
        assert f"default: what the data set suggests, else {value}" in train[name]
    export, rule = {item.name: its.help for item, its in flags(ExportConfig)}, Suppression()
    told = {"topk_per_class": rule.per_class, "topk_all": rule.total, "iou_thres": rule.iou_thres,
            "conf_thres": rule.conf_thres}  # fmt: skip
    for name, value in told.items():
        assert f"(default: {value})" in export[name]


def test_no_flag_is_declared_a_second_time() -> None:
    """Only `mgil/engine/cli.py` adds flags to a parser of the product; the scripts hold an import and a call."""
    files = [*REPOSITORY.glob("*.py"), *(REPOSITORY / "mgil").rglob("*.py")]
    trees = {path.relative_to(REPOSITORY).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in files}
    adding = {name for name, tree in trees.items() for node in ast.walk(tree)
              if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument"}  # fmt: skip
    assert adding == {"mgil/engine/cli.py"}
    for name in CONFIGS:
        calls = [node for node in ast.walk(trees[f"{name}.py"]) if isinstance(node, ast.Call)]
        assert len(calls) == 1
