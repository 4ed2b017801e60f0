"""YAML as plain data: what is no mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from mgil.files.yaml_file import read_yaml_mapping


def test_merged_keys_are_defaults(tmp_path: Path) -> None:
    path = tmp_path / "hyp.yaml"
    path.write_text("base: &base {lr0: 0.01, box: 0.05}\nsmall: {<<: *base, box: 0.15}\nlarge: {<<: *base}\n")
    base = {"lr0": 0.01, "box": 0.05}
    assert read_yaml_mapping(path) == {"base": base, "small": {"lr0": 0.01, "box": 0.15}, "large": base}


def test_a_key_written_twice_beside_merged_ones_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "hyp.yaml"
    path.write_text("base: &base {lr0: 0.01}\nsmall: {<<: *base, box: 0.15, box: 0.2}\n")
    with pytest.raises(ValueError, match="hyp.yaml, line 2: key 'box' is written twice"):
        read_yaml_mapping(path)
