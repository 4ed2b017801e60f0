"""`mgil train|val|detect|export|carry-over`, and the four scripts, which are the same commands."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mgil.engine.command
from mgil.engine.command import COMMANDS, main
from mgil.engine.evaluation.config import ValConfig
from mgil.engine.export.config import ExportConfig
from mgil.engine.export.formats import format_table
from mgil.engine.prediction.config import DetectConfig
from mgil.engine.training.config import TrainConfig
from mgil.engine.weights.carry_over_config import CarryOverConfig

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the commands would run."""
    seen: list[tuple[Any, ...]] = []

    def run(config: Any, given: dict[str, Any] | None = None, program: str = "") -> None:
        seen.append((config, given))

    runs = ("training.run.run_train", "evaluation.run.run_val", "prediction.run.run_detect", "export.run.run_export")
    for name in (*runs, "weights.carry_over.run_carry_over"):
        monkeypatch.setattr(f"mgil.engine.{name}", run)
    return seen


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("train --epochs 2 --img 64", (TrainConfig(epochs=2, imgsz=64), {"epochs": 2, "imgsz": 64})),
        ("val --weights a.pt b.pt --img 64", (ValConfig(("a.pt", "b.pt"), imgsz=(64,)), None)),
        ("detect --weights a.pt --source x", (DetectConfig("a.pt", "x"), None)),
        ("export --weights a.pt --include onnx", (ExportConfig("a.pt", ("onnx",)), None)),
        ("carry-over --weights a.pt --cfg b.yaml --output c.pt", (CarryOverConfig("a.pt", "b.yaml", "c.pt"), None)),
    ],
)
def test_a_word_runs_its_command(
    line: str, expected: tuple[Any, ...], runs: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(line.split())
    word, *flags = line.split()
    COMMANDS[word](flags, None)
    monkeypatch.setattr(sys, "argv", ["mgil", *line.split()])
    main()
    runpy.run_module("mgil", run_name="__main__")
    monkeypatch.setattr(sys, "argv", [f"{word}.py", *flags])
    getattr(mgil.engine.command, word.replace("-", "_"))()
    assert runs == [expected] * 5


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["mgil"])
    for arguments in (["--help"], ["-h"], [], None):
        main(arguments)
        out = capsys.readouterr().out
        assert out.startswith("usage: mgil {train,val,detect,export,carry-over} [flags]\n")
        assert "  train       Train a network: mgil train [TASK] [flags]" in out
        assert "mgil detect --weights best.pt --source folder/" in out


@pytest.mark.parametrize("word", COMMANDS)
def test_help_of_a_command_has_its_name(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([word, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: mgil {word} [-h]") and "%" not in out.replace("50 %", "")
    assert (format_table() in out) == (word == "export")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["trian"], "error: trian: no such command; did you mean train?"),
        (["zzz", "--help"], "error: zzz: no such command; mgil --help lists them"),
        (["train", "--epoch", "3"], "error: --epoch: no such flag; did you mean --epochs?"),
        (["val"], "error: the following arguments are required: --weights"),
    ],
)
def test_mistakes_end_in_one_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"{line}\n"


def test_flags_that_do_not_go_together_end_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "--rect", "--multi-scale"])
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: --rect and --multi-scale exclude each other\n"


@pytest.mark.parametrize("word", COMMANDS)
def test_help_and_mistakes_need_no_torch(word: str) -> None:
    """So that both answer at once; importing PyTorch takes seconds."""
    has_script = (REPOSITORY / f"{word}.py").is_file()
    start = f"from {word} import main" if has_script else f"from mgil.engine.command import {word.replace('-', '_')}"
    program = (
        f"import sys\n{start} as run\n"
        "for flags in (['--help'], ['--nonsense']):\n"
        "    try:\n"
        "        run(flags)\n"
        "    except SystemExit as end:\n"
        "        print(end.code, file=sys.stderr)\n"
        "print(sorted({'torch', 'cv2', 'numpy'} & set(sys.modules)), file=sys.stderr)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stderr == "0\nerror: --nonsense: no such flag; --help lists them\n2\n[]\n"
