"""The benchmark of label scanning runs, with a few hundred images, and measures what it says."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

from benchmarks import label_scan

IMAGES = 400


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.nightly
def test_tables_of_a_small_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    table, absent = tmp_path / "out" / "scan.csv", tmp_path / "absent"
    command = f"label_scan --images {IMAGES} --workers 2 --folder {tmp_path} --peers {absent} --csv {table}"
    monkeypatch.setattr(sys, "argv", command.split())
    label_scan.main()
    rows = read(table)
    keys = [(row["images"], row["labels"], row["project"]) for row in rows]
    assert keys == [(str(images), state, "ours") for images in (IMAGES // 4, IMAGES) for state in ("first", "cached")]
    labels = (tmp_path / f"labels{IMAGES}" / "labels" / "train").glob("*.txt")
    lines = sum(len(path.read_text().splitlines()) for path in labels)
    assert [row["boxes"] for row in rows[2:]] == [str(lines)] * 2
    assert all(float(row["peak MiB"]) >= float(row["of it imports MiB"]) - 2 > 10 for row in rows)
    if Path("/proc/self/smaps_rollup").exists():
        workers = read(table.with_stem("scan_workers"))
        assert [row["worker"] for row in workers] == ["0", "1"]
        assert all(0 < float(row["USS MiB, start"]) <= float(row["PSS MiB, start"]) for row in workers)
    assert "measuring ours alone" in capsys.readouterr().out


def test_a_step_that_fails_tells_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="scan failed:\n(?s:.*)gone.yaml"):
        label_scan.run_step("scan", tmp_path / "gone.yaml", tmp_path)
