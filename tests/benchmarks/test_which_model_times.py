"""Models of different input sizes are timed in the same turns."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import study_latency, which_model_times
from benchmarks.which_model import Place

PLACE = Place("squares", 64, 6, "from scratch", "some", "squares", "3 epochs")


def cell(model: str, size: int, seed: int = 0, **definition: Any) -> Any:
    definition = {"model": definition or {"nc": 3}, "classes": ["a", "b"]}
    return SimpleNamespace(model=model, size=size, definition=definition, folder_name=f"{model}_{size}_{seed}")


def test_every_model_and_size_once_and_peers_where_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[tuple[int, int]] = []
    turns: list[int] = []

    def open_ours(_model: Any, size: int, classes: int, _device: Any, folder: Path) -> dict[str, Any]:
        assert folder.is_dir()  # of its own
        opened.append((size, classes))

        def timer(images: int) -> list[float]:
            turns.append(size)
            return [size / 10] * images

        return {"ONNX ms": timer}

    monkeypatch.setattr(study_latency, "open_ours", open_ours)
    cells = [cell("a", 64), cell("a", 128), cell("a", 64, seed=1), cell("peer", 64, peer="ultralytics")]
    rows = which_model_times.measure(PLACE, cells, tmp_path / "no environment", rounds=2)
    assert opened == [(64, 2), (128, 2)] and turns == [64, 128] * 3
    assert [(row["study"], row["data"], row["model"], row["size"], row["ONNX ms"]) for row in rows] == [
        ("some", "squares", "a", 64, "6.4"), ("some", "squares", "a", 128, "12.8"),
    ]  # fmt: skip
    assert "peer at 64 px: not timed: " in capsys.readouterr().out
