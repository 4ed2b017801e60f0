"""Weights of timm and of SimCC in networks with and without blocks."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from mgil.engine.weights.carry_over import run_carry_over
from mgil.engine.weights.carry_over_config import CarryOverConfig
from mgil.engine.weights.checkpoints import Checkpoint, load_checkpoint, model_from_checkpoint, save_checkpoint
from mgil.engine.weights.start import start_from
from mgil.networks.host_weights import read_tensors
from mgil.tasks.pose.network import PoseNetwork, build_pose
from mgil.tasks.pose.skeleton import checked
from mgil.tasks.pose.task import TASK
from mgil.tasks.pose.weights import load_host_weights, without_blocks
from tests.networks.lived import lived

timm = pytest.importorskip("timm")
safetensors = pytest.importorskip("safetensors.torch")

NAMES = ("left_hand", "head", "right_hand")
RESNET: dict[str, Any] = {"host": "resnet18", "host_options": {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}}


def build(**more: Any) -> PoseNetwork:
    torch.manual_seed(1)
    return build_pose({**RESNET, **more}, NAMES, 64).eval()


@pytest.fixture(scope="module")
def classifier() -> Any:
    """timm's network as a whole, head and all."""
    torch.manual_seed(0)
    return lived(timm.create_model("resnet18", num_classes=5, **RESNET["host_options"]))


def pictures() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("more", [{}, {"blocks": "mgil-res"}, {"blocks": "mgil-res", "shortcuts": "sct1x1"}])
def test_a_host_computes_what_timm_s_does(classifier: Any, more: dict[str, Any]) -> None:
    """Blocks that begin as what they replace, too; the rest is untrained, and said to be."""
    model = build(**more)
    taken = load_host_weights(model, classifier.state_dict())
    x = (pictures() - model.mean) / model.std
    torch.testing.assert_close(model.host(x)[-1], classifier.forward_features(x), rtol=1e-4, atol=1e-5)
    assert {name.partition(".")[0] for name in taken.left} == {"neck", "head"} and not taken.unused
    assert len(taken.carry.carried) == (4 if more else 0) and not taken.carry.left
    assert ("4 of 4 stride-2 layers carried over" in str(taken)) == bool(more)
    assert "untrained: neck.0.weight" in str(taken)


def test_blocks_that_cannot_compute_it_say_why(classifier: Any) -> None:
    taken = load_host_weights(build(blocks="mgil"), classifier.state_dict())
    assert not taken.carry.carried and "first_kernel=5" in taken.carry.left["host.conv1"]
    assert "residual=True" in taken.carry.left["host.layer2.0.conv1"]
    assert "host.conv1.flie.lie.0.conv.weight" in taken.left


def test_blocks_of_layers_that_the_file_lacks_stay_as_they_were(classifier: Any) -> None:
    tensors = {key: value for key, value in classifier.state_dict().items() if not key.startswith("layer4.")}
    model, fresh = build(blocks="mgil-res"), build(blocks="mgil-res")
    taken = load_host_weights(model, tensors)
    assert sorted(taken.carry.carried) == ["host.conv1", "host.layer2.0.conv1", "host.layer3.0.conv1"]
    for key, value in fresh.state_dict().items():
        if key.startswith("host.layer4."):
            assert key in taken.left and torch.equal(model.state_dict()[key], value)


def test_simcc_s_names(classifier: Any) -> None:
    """Its ResNet has deconv_layers; its head final_layer, mlp_head_x and mlp_head_y."""
    source = lived(build())
    names = {"host.": "", "neck.": "deconv_layers.", "head.": ""}
    tensors = {}
    for key, value in source.state_dict().items():
        begin = next(begin for begin in names if key.startswith(begin))
        tensors[f"module.{names[begin]}{key.removeprefix(begin)}"] = value
    assert {"module.final_layer.weight", "module.mlp_head_x.bias", "module.deconv_layers.3.weight"} < tensors.keys()
    model = build(blocks="mgil-res")
    bare = {key.removeprefix("module."): value for key, value in tensors.items()}
    taken = load_host_weights(model, bare)
    assert not taken.left and not taken.unused
    torch.testing.assert_close(model(pictures()), source(pictures()), rtol=1e-3, atol=1e-4)
    hrnet = {key.partition(".")[0] for key in build_pose({"host": "hrnet_w18_small"}, NAMES, 32).host.state_dict()}
    assert hrnet == {"conv1", "bn1", "conv2", "bn2", "layer1", "transition1", "stage2", "transition2", "stage3",
                     "transition3", "stage4"}  # fmt: skip


def test_nothing_that_fits_is_an_error() -> None:
    with pytest.raises(ValueError, match="none of the tensors fits model"):
        load_host_weights(build(), {"encoder.weight": torch.zeros(3)})


def test_training_starts_from_plain_weights() -> None:
    """The engine's own way: weights of the plain network, an architecture with blocks; the outputs agree."""
    source, model, lines = lived(build()), build(blocks="mgil-res"), []
    checkpoint = Checkpoint(Path("plain.pt"), source.architecture, NAMES, 64, dict(source.state_dict()), task="pose")
    start = start_from(model, checkpoint, True, lines.append)
    assert start.whole and start.head and not start.left and len(start.carried) == 4
    assert start.off is not None and start.off < 1e-3
    assert "4 of 4 stride-2 layers carried over; outputs agree" in lines[-1]


def test_what_has_names_are_key_points() -> None:
    source, lines = build_pose(RESNET, ("head", "left_hand"), 64), []
    checkpoint = Checkpoint(Path("w.pt"), source.architecture, source.names, 64, source.state_dict(), task="pose")
    start = start_from(build(), checkpoint, False, lines.append, TASK.named)
    assert lines[0].startswith("w.pt: has 2 key points for 3 here; the key points begin from its left_hand")
    assert start.whole and not start.classes and lines[1].endswith("but what is of the untrained key points")


def test_carry_over_keeps_what_the_key_points_are(tmp_path: Path) -> None:
    """`mgil carry-over`: the names alone do not say it."""
    source = lived(build(crop="area", gaussian=True))
    source.skeleton = checked(NAMES, (2, 1, 0), (0.1, 0.2, 0.1), [(0, 1)])
    save_checkpoint(tmp_path / "plain.pt", source, {"data": "x.yaml"}, task="pose")
    cfg = {**RESNET, "blocks": "mgil-res"}
    config = CarryOverConfig(str(tmp_path / "plain.pt"), str(tmp_path / "blocks.yaml"))
    (tmp_path / "blocks.yaml").write_text(yaml.safe_dump(cfg))
    with pytest.raises(ValueError, match="blocks.yaml: needs gaussian: True, as the weights have it"):
        run_carry_over(config)
    (tmp_path / "blocks.yaml").write_text(yaml.safe_dump({**cfg, "gaussian": True}))
    model: Any = model_from_checkpoint(load_checkpoint(run_carry_over(config, lambda _line: None)))
    assert model.skeleton == source.skeleton and (model.crop, model.gaussian) == ("area", True)
    x = pictures()
    torch.testing.assert_close(model.eval()(x), source(x), rtol=1e-3, atol=1e-3)


def test_without_blocks(classifier: Any) -> None:
    model = build(blocks="mgil", pools="block", shortcuts="sct1x1", norms="keep", block_options={"fine_convs": 1})
    plain = without_blocks(model)
    assert plain.host.state_dict().keys() == {key for key in classifier.state_dict() if not key.startswith("fc.")}


@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: {"state_dict": t, "epoch": 3}, lambda t: {"model": t}])
def test_files_of_tensors(wrap: Any, tmp_path: Path) -> None:
    tensors = {"module.conv1.weight": torch.rand(2, 3), "module.bn1.bias": torch.rand(2)}
    torch.save(wrap(tensors), tmp_path / "weights.pth")
    safetensors.save_file(tensors, tmp_path / "weights.safetensors")
    for name in ("weights.pth", "weights.safetensors"):
        found = read_tensors(tmp_path / name)
        assert found.keys() == {"conv1.weight", "bn1.bias"}
        assert torch.equal(found["conv1.weight"], tensors["module.conv1.weight"])


class Evil:
    """Runs code where a reader lets it."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("/tmp/never-made-by-reading-weights"),))


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.pth", lambda path: path.write_bytes(b"no weights"), "no file of weights|could run code"),
        ("a.safetensors", lambda path: path.write_bytes(b"no weights"), "no file of weights"),
        ("a.pth", lambda path: torch.save({"epoch": 3}, path), "no tensors by name"),
        ("a.pth", lambda path: torch.save([torch.rand(3)], path), "no tensors by name"),
        ("a.pth", lambda path: torch.save({"w": torch.tensor([torch.nan])}, path), "w holds NaN or Inf"),
        ("a.pth", lambda path: path.write_bytes(pickle.dumps(Evil())), "could run code|no file of weights"),
        ("a.pth", lambda path: torch.save({"w": Evil()}, path), "could run code"),
    ],
)
def test_other_files_end_in_one_line(name: str, write: Any, message: str, tmp_path: Path) -> None:
    write(tmp_path / name)
    with pytest.raises(ValueError, match=message) as error:
        read_tensors(tmp_path / name)
    assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)
    assert not Path("/tmp/never-made-by-reading-weights").exists()


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere.pth"):
        read_tensors("nowhere.pth")
