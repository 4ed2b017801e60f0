"""Networks of timm through all doors: what the table says of one that works, is refused, or finds a fault."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks import timm_networks

pytest.importorskip("timm")


@pytest.fixture
def table(private_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "table.csv"
    flags = ["timm_networks.py", "--names", "mobilenetv3_small_050", "vgg11_bn", "--img", "32", "--csv", str(path)]
    monkeypatch.setattr("sys.argv", flags)
    return path


@pytest.mark.nightly
def test_one_works_and_one_is_refused_in_one_line(table: Path) -> None:
    timm_networks.main()
    with table.open(newline="") as file:
        works, refused = csv.DictReader(file)
    assert [works[door] for door in ("train", "val", "onnx")] == ["yes"] * 3 and int(works["blocks"]) > 0
    assert int(works["parameters"]) > int(works["parameters before"])
    assert refused["train"] == "refused" and "nothing to replace" in refused["says"] and "\n" not in refused["says"]


def test_what_is_no_line_for_people_is_a_fault(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_parts: object, **_options: object) -> None:
        raise KeyError("conv")

    monkeypatch.setattr(timm_networks, "run_train", broken)
    monkeypatch.setattr("sys.argv", ["timm_networks.py", "--names", "resnet10t", "--img", "32", "--csv", str(table)])
    with pytest.raises(SystemExit) as ended:
        timm_networks.main()
    assert ended.value.code == 1 and "fault,,,KeyError: 'conv'" in table.read_text()
