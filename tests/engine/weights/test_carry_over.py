"""Weights of plain stride-2 layers put into a network of blocks: what is said, and `mgil carry-over`."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mgil.engine.command import main
from mgil.engine.prediction.load import load_model
from mgil.engine.training.config import TrainConfig
from mgil.engine.weights.carry_over import run_carry_over
from mgil.engine.weights.carry_over_config import CarryOverConfig
from mgil.engine.weights.checkpoints import load_checkpoint, model_from_checkpoint, save_checkpoint
from mgil.engine.weights.start import Start, start_from
from mgil.networks.carry_over import difference
from mgil.networks.detector import DetectionModel, build_model
from mgil.tasks.registry import task_named
from tests.engine.tiny import NAMES, TINY, write_yaml

BLOCK: dict[str, Any] = {"residual": True, "coarse_shortcut": True}
WIDTHS = [8, 16, 16, 16, 16]


def rows(*blocks: dict[str, Any] | None, name: str = "MGIL") -> dict[str, Any]:
    """The tiny network with plain stride-2 layers (None) or blocks, of the given options, in its first rows."""
    layers: list[Any] = [[-1, 1, "Conv", [width, 3, 2]] for width in WIDTHS]
    layers[0][3] = [WIDTHS[0], 6, 2, 2]
    for index, options in enumerate(blocks):
        if options is not None:
            layers[index] = [-1, 1, name, [WIDTHS[index], options]]
    return deepcopy(TINY) | {"backbone": layers}


def trained_like(model: DetectionModel) -> DetectionModel:
    """The model with statistics and weights as after training."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    for conv in model.head.m:
        nn.init.normal_(conv.weight, std=0.3)
        nn.init.normal_(conv.bias)
    return model.eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the plain network."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("plain") / "plain.pt"
    model = trained_like(build_model(rows(), names=NAMES, imgsz=96))
    nn.init.zeros_(model.model[1].conv.weight[:, 0])  # as in pruned weights
    save_checkpoint(path, model, {"data": "x.yaml", "epoch": 3})
    return path


def started(weights: Path, architecture: dict[str, Any], **options: Any) -> tuple[DetectionModel, Start, list[str]]:
    """A network filled from weights, and what was said."""
    model, lines = build_model(architecture, **{"names": NAMES, "imgsz": 96, **options}), []
    start = start_from(model, load_checkpoint(weights), True, lines.append)
    return model, start, lines


def test_all_layers_begin_as_they_were(weights: Path) -> None:
    model, start, lines = started(weights, rows(BLOCK, BLOCK, None, BLOCK))
    source = model_from_checkpoint(weights, fuse=False)
    images = torch.rand(2, 3, 64, 96)
    torch.testing.assert_close(model.eval()(images), source(images), rtol=1e-4, atol=1e-4)
    assert len(lines) == 1 and "; 3 of 3 stride-2 layers carried over; outputs agree to " in lines[0]
    assert (start.whole, start.head, start.left) == (True, True, ()) and 0 < start.off < 1e-5
    assert difference(model.double(), source.double(), head=True) < 1e-12
    firsts = [f"model.{row}.flie.lie.0" for row in (0, 1, 3)]
    assert start.carried == {f"{name}.conv.weight": share for name, share in zip(firsts, (1, 0.25, 0.25), strict=True)}
    parameters = {name for name, _ in model.named_parameters()}
    new = {name for name in parameters if any(part in name for part in ("lie.1.", "cii.", "mgaf."))}
    assert set(start.new) == new
    assert {f"{name}.bn" for name in firsts} <= set(start.norms) and "model.1.cii.lie.0.bn" not in start.norms


@pytest.mark.parametrize("name", ["SPDConv", "MGIL"])
def test_blocks_without_shortcuts_to_make(weights: Path, name: str) -> None:
    options = {"MGIL": {"fusion": "none", "fine_convs": 1}, "SPDConv": {}}[name]
    _, start, lines = started(weights, rows(None, options, name=name))
    assert "1 of 1 stride-2 layers carried over; outputs agree" in lines[0] and start.whole and start.head


@pytest.mark.parametrize(
    ("architecture", "said", "whole", "head"),
    [
        (
            rows(BLOCK, {}, {"residual": True}),
            "1 of 3 stride-2 layers carried over; untrained: model.1: the later convolutions need shortcuts around "
            "them: make the block with residual=True and coarse_shortcut=True; untrained: model.2: the later "
            "convolutions need shortcuts around them: make the block with coarse_shortcut=True",
            False,
            True,
        ),
        (
            rows(BLOCK) | {"activation": "LeakyReLU"},
            "0 of 1 stride-2 layers carried over; untrained: model.0: its activation is LeakyReLU, that of the weights "
            "SiLU",
            False,
            False,  # the weights' anchors are left to the model of one's own, and the YAML has others
        ),
        (
            rows({**BLOCK, "lie_kernel": 1}),
            "model.0: a 6x6 convolution reaches beyond a block's 1x1 one; make the block with first_kernel=3",
            False,
            False,
        ),
        (
            rows(BLOCK) | {"width_multiple": 2.0},
            "0 of 1 stride-2 layers carried over; untrained: model.0: the convolution has 3 -> 8 channels, the block "
            "3 -> 16; not loaded: model.1.conv.weight, ",
            False,
            False,
        ),
    ],
)
def test_what_cannot_begin_so_is_named(
    weights: Path, architecture: dict[str, Any], said: str, whole: bool, head: bool
) -> None:
    other = [[5, 6, 8, 8, 10, 10], *TINY["anchors"][1:]]
    _, start, lines = started(weights, architecture | {"anchors": other})
    assert said in lines[0] and "agree" not in lines[0]
    assert (start.whole, start.head, start.off) == (whole, head, None)


def test_classes_go_by_their_names(weights: Path) -> None:
    """Boxes and objectness come along; rows of classes that the weights do not know stay the start's."""
    theirs = load_checkpoint(weights).state_dict["model.5.m.0.weight"].unflatten(0, (3, 8))
    for names, places in ((("blue", "pink"), [2, None]), (("blue", "Red", "green"), [2, 0, 1]), (("a",) * 1, [None])):
        torch.manual_seed(3)
        fresh = build_model(rows(BLOCK), names=names, imgsz=96).head.m[0].weight.unflatten(0, (3, -1))
        torch.manual_seed(3)
        model, start, lines = started(weights, rows(BLOCK), names=names)
        own = model.head.m[0].weight.unflatten(0, (3, -1))
        assert torch.equal(own[:, :5], theirs[:, :5])
        for row, place in enumerate(places, start=5):
            assert torch.equal(own[:, row], fresh[:, row] if place is None else theirs[:, 5 + place])
        assert start.whole and start.head and "the maps before the head agree to " in lines[-1]
        if names == ("blue", "pink"):
            assert lines[0].endswith("has 3 classes for 2 here; the classes begin from its blue, the others untrained")
    assert lines[0].endswith("has 3 classes for 1 here; the classes begin untrained")


@pytest.mark.parametrize(("names", "known"), [(NAMES[::-1], 1), (("Blue", "pink"), 0.5), (("pink",), 0)])
def test_the_share_of_known_classes(weights: Path, names: tuple[str, ...], known: float) -> None:
    _, start, _ = started(weights, rows(), names=names)
    assert start.known == known and start.classes == (known == 1)


def test_anchors_come_along_where_the_model_has_but_their_number(weights: Path) -> None:
    """They are those of the head that was carried over, in what a checkpoint says of the network too."""
    model, start, _ = started(weights, rows(BLOCK) | {"anchors": 3})
    lines: list[str] = []
    task_named("detect").prepare(model, None, None, 96, 0, TrainConfig(), start.head, lines.append)
    shown = ", ".join(f"{side}x{side}" for row in TINY["anchors"] for side in row[::2])
    assert lines == [f"the anchors that the weights were trained with stay: {shown}"]
    rebuilt = build_model(model.architecture, names=NAMES, imgsz=96)
    theirs = load_checkpoint(weights).state_dict["model.5.anchors"]
    assert torch.equal(model.head.anchors, theirs) and torch.equal(rebuilt.head.anchors, theirs)


def test_a_head_of_other_anchors_gives_none_of_its_rows(weights: Path) -> None:
    """Six anchors of eight rows are as many as three of sixteen."""
    tall = rows() | {"anchors": [[6, 6] * 6, [12, 12] * 6, [24, 24] * 6]}
    state = build_model(tall, names=NAMES, imgsz=96).state_dict()
    taken = build_model(rows(), names=("blue", "pink"), imgsz=96).in_class_order(state, NAMES)
    assert taken is state
    other = [[6, 6, 8, 8]] * 3
    for names in (("blue", "pink"), NAMES[::-1]):  # of other number, in another order
        _, start, lines = started(weights, rows() | {"anchors": other}, names=names)
        assert start.whole and not start.head and not any("class" in line for line in lines)


@pytest.mark.parametrize("names", [NAMES, NAMES[:2]])
def test_levels_of_a_head_go_where_their_stride_is(weights: Path, names: tuple[str, ...]) -> None:
    """Other levels in another order and at another row: P5 and P3 begin as they were, P2 as a new one."""
    other = rows() | {"head": [[1, 1, "Conv", [16]], [[4, 5, 2], 1, "Detect", ["nc", "anchors"]]]}
    model, start, lines = started(weights, other, names=names)
    assert model.stride.tolist() == [32, 4, 8]
    source = model_from_checkpoint(weights, fuse=False)
    images = torch.rand(2, 3, 64, 96)
    own, theirs = model.eval().raw(images), source.raw(images)
    seen = 5 + len(names)
    for level, other_level in ((0, 2), (2, 0)):
        torch.testing.assert_close(own[level], theirs[other_level][..., :seen], rtol=1e-4, atol=1e-4)
    new = {name for name in start.new if name.startswith("model.6.")}
    assert new == {"model.6.m.1.weight", "model.6.m.1.bias"} and not (start.whole or start.head)
    assert "model.6.m.1.weight" in lines[-1] and "model.6.m.0.weight" not in lines[-1]


def test_levels_of_another_stride_do_not_begin_as_those_of_their_number(weights: Path) -> None:
    finer = rows() | {"head": [[[1, 2, 3], 1, "Detect", ["nc", "anchors"]]]}
    model, _, _ = started(weights, finer)
    theirs = load_checkpoint(weights).state_dict
    for level, other in ((1, 0), (2, 1)):
        assert torch.equal(model.head.m[level].weight, theirs[f"model.5.m.{other}.weight"])
    assert not torch.equal(model.head.m[0].weight, theirs["model.5.m.0.weight"])


def test_a_head_of_fewer_levels_with_the_anchors_of_the_weights_is_theirs(weights: Path) -> None:
    fewer = {"head": [[[4, 2], 1, "Detect", ["nc", "anchors"]]], "anchors": [TINY["anchors"][2], TINY["anchors"][0]]}
    _, start, lines = started(weights, rows() | fewer)
    assert start.whole and start.head and "not loaded" not in lines[-1]
    _, start, _ = started(weights, rows() | fewer | {"anchors": TINY["anchors"][:2]})
    assert start.whole and not start.head and start.left == ("model.5.anchors",)


def test_weights_of_blocks_go_by_name_and_another_function_is_said(tmp_path: Path) -> None:
    path = tmp_path / "paper.pt"
    save_checkpoint(path, trained_like(build_model(rows(None, {}), names=NAMES, imgsz=96)), {})
    _, start, lines = started(path, rows(None, {}))
    assert "; outputs agree to 0e+00" in lines[0] and start.whole and start.off == 0 and not start.carried
    _, start, lines = started(path, rows(None, BLOCK))
    assert "; but outputs differ by up to " in lines[0] and start.off > 1e-2
    deeper = rows(BLOCK) | {"head": [[[2, 3], 1, "Detect", ["nc", "anchors"]]], "anchors": TINY["anchors"][:2]}
    _, start, lines = started(path, deeper)
    assert "differ by up to inf" in lines[0] or start.off is None


def test_weights_whose_network_cannot_be_built_go_by_name(weights: Path) -> None:
    checkpoint = load_checkpoint(weights)
    checkpoint.architecture["backbone"][2] = [-1, 1, "Unheard", [16]]
    model, lines = build_model(rows(BLOCK), names=NAMES, imgsz=96), []
    start = start_from(model, checkpoint, True, lines.append)
    assert lines[0].startswith("no layer is carried over or moved, ") and "unknown layer 'Unheard'" in lines[0]
    assert not start.whole and torch.equal(model.model[1].conv.weight, checkpoint.state_dict["model.1.conv.weight"])


def test_a_written_file_finds_what_the_weights_find(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = write_yaml(tmp_path / "blocks.yaml", rows(BLOCK, BLOCK, BLOCK, BLOCK, BLOCK))
    output = tmp_path / "carried.pt"
    before = weights.read_bytes()
    main(["carry-over", "--weights", str(weights), "--cfg", cfg, "--output", str(output)])
    assert "5 of 5 stride-2 layers carried over; outputs agree to" in (out := capsys.readouterr().out)
    assert out.endswith(f"{output}: written; it finds what {weights} finds\n") and weights.read_bytes() == before
    source, own = load_checkpoint(weights), load_checkpoint(output)
    assert (own.names, own.imgsz, own.info, own.task) == (source.names, source.imgsz, source.info, source.task)
    assert own.training == {} and own.architecture["backbone"][0][2] == "MGIL"
    images = torch.rand(1, 3, 96, 64)
    found, expected = (
        model_from_checkpoint(path, fuse=fuse)(images) for path, fuse in ((output, True), (weights, False))
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
    picture = (255 * torch.rand(64, 96, 3)).byte().numpy()
    boxes = [load_model(path, conf=0.3)(picture).boxes_xyxy for path in (output, weights)]
    assert len(boxes[0]) > 5
    torch.testing.assert_close(*map(torch.as_tensor, boxes), rtol=0, atol=1e-2)


def test_nothing_is_overwritten_unasked(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = write_yaml(Path("blocks.yaml"), rows(BLOCK))
    own = Path("plain.pt")
    own.write_bytes(weights.read_bytes())
    assert run_carry_over(CarryOverConfig("plain.pt", cfg), lambda _line: None) == Path("blocks.pt")  # beside them
    Path("blocks.pt").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="blocks.pt exists; --exist-ok replaces it, --output gives another name"):
        run_carry_over(CarryOverConfig("plain.pt", cfg))
    assert Path("blocks.pt").read_bytes() == b"mine"
    run_carry_over(CarryOverConfig("plain.pt", cfg, exist_ok=True), lambda _line: None)
    assert load_checkpoint("blocks.pt").names == NAMES
    with pytest.raises(ValueError, match="these are the weights"):
        run_carry_over(CarryOverConfig("plain.pt", cfg, output="./plain.pt", exist_ok=True))
    assert own.read_bytes() == weights.read_bytes()


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        (
            rows(BLOCK, {}),
            "cannot begin as all of these weights; nothing is written. .*1 of 2 stride-2 .* residual=True",
        ),
        (rows(), "has no block in the place of a plain stride-2 layer of these weights; nothing is written"),
        (rows(BLOCK) | {"activation": "ReLU"}, r"row 0 \[-1, 1, 'MGIL'.*later_act"),
        (rows(BLOCK, name="Conv"), "row 0"),
        ("absent.yaml", "absent.yaml does not exist"),
    ],
)
def test_what_is_not_exact_is_refused_and_nothing_written(
    weights: Path, tmp_path: Path, cfg: dict[str, Any] | str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = cfg if isinstance(cfg, str) else write_yaml(tmp_path / "cfg.yaml", cfg)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run_carry_over(CarryOverConfig(str(weights), path, str(tmp_path / "out.pt")))
    assert not (tmp_path / "out.pt").exists() and capsys.readouterr().out == ""


def test_flags_of_the_command() -> None:
    with pytest.raises(ValueError, match="--output x.onnx: a weights file ends with .pt"):
        CarryOverConfig("a.pt", "b.yaml", "x.onnx")


def test_the_official_weights_to_the_last_digit(official_weights: Path) -> None:
    checkpoint, lines = load_checkpoint(official_weights), []
    model = build_model("yolov5n-mgil-res.yaml", names=checkpoint.names)
    start = start_from(model, checkpoint, True, lines.append)
    assert "307 of 629 tensors loaded by name; 7 of 7 stride-2 layers carried over; outputs agree to" in lines[0]
    assert start.whole and start.head and start.off < 1e-4
    source = model_from_checkpoint(checkpoint, fuse=False).double()
    assert difference(model.double(), source, head=True) < 1e-9
    assert torch.equal(model.head.anchors, source.head.anchors)
