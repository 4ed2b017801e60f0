"""Files that the options name are looked at before any data is read, which can take minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mgil.engine.training.run import run_train
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.networks.detector import build_model
from mgil.tasks.detect.task import DetectTask
from tests.engine.tiny import RECIPE, TINY, Playground, write_yaml

pytestmark = pytest.mark.usefixtures("private_cache")

BAD = {
    "weights": [("nowhere.pt", "weights nowhere.pt do not exist"), ("nan.pt", r"nan\.pt: .* holds NaN or Inf")],
    "cfg": [("nowhere.yaml", "model file nowhere.yaml does not exist"), ("key.yaml", "unknown key 'backbones'")],
    "hyp": [("nowhere.yaml", "hyp file nowhere.yaml does not exist"), ("rate.yaml", "rate.yaml: hyp lr0: 11")],
    "data": [("nowhere.yaml", "data set file nowhere.yaml not found")],
    "resume": [("nowhere", "--resume nowhere: no such checkpoint")],
}  # fmt: skip


@pytest.mark.parametrize(
    ("option", "name", "message"), [(option, *case) for option, cases in BAD.items() for case in cases]
)
def test_a_bad_file_is_told_before_data_is_read(
    ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, name: str, message: str
) -> None:
    def read(*_: Any, **__: Any) -> None:
        raise AssertionError("data was read")

    monkeypatch.setattr(DetectTask, "read", read)
    monkeypatch.chdir(tmp_path)
    write_yaml(tmp_path / "key.yaml", TINY | {"backbones": []})
    write_yaml(tmp_path / "rate.yaml", RECIPE | {"lr0": 11})
    save_checkpoint("nan.pt", build_model(TINY, names=list("rgb"), imgsz=32), {})
    content = torch.load("nan.pt", weights_only=True)
    content["state_dict"]["model.2.bn.running_var"][3] = torch.nan
    torch.save(content, "nan.pt")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run_train(ground.config(tmp_path / "runs", **{option: name}), lambda _: None)
    assert not (tmp_path / "runs").exists()
