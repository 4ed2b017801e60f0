"""Parameters and multiply-adds of the pose networks, to the digit.

The multiply-adds are those of convolutions, transposed convolutions and linear layers, every tap of a kernel counted.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mgil.tasks.pose.network import PoseNetwork, build_pose

pytest.importorskip("timm")

NAMES = tuple(str(joint) for joint in range(17))
W32, W48, R50 = ({"host": name} for name in ("hrnet_w32", "hrnet_w48", "resnet50"))
R50["split"] = {0: 3, 128: 2}  # type: ignore[assignment]
POOLED = {**R50, "blocks": "mgil", "pools": "block"}
# What batch normalisation of the host adds where it stays behind a block (norms: keep): 2 for each channel.
KEPT_W32, KEPT_W48 = 7_296, 10_816
# network, parameters and multiply-adds at 32, 64 and 128 px
ROWS: list[tuple[str, dict[str, Any], int, list[tuple[int, int]]]] = [
    ("w32", W32, 0, [(28548593, 159479808), (28634801, 638754816), (29060913, 2557247488)]),
    (
        "w32-spd",
        {**W32, "blocks": "spd"},
        KEPT_W32,
        [(36191921, 198629376), (36278129, 795353088), (36704241, 3183640576)],
    ),
    (
        "w32-mgil",
        {**W32, "blocks": "mgil"},
        KEPT_W32,
        [(62736421, 318255296), (62822629, 1273297088), (63248741, 5094856896)],
    ),
    (
        "w32-mgil-3+3",
        {**W32, "blocks": "mgil", "block_options": {"fine_convs": 3, "coarse_convs": 3}},
        KEPT_W32,
        [(75915045, 377974976), (76001253, 1512175808), (76427365, 6050371776)],
    ),
    (
        "w32-mgil-stem",
        {**W32, "blocks": "mgil", "places": "stem"},
        2 * (64 + 64),
        [(28962661, 215072800), (29048869, 861120544), (29474981, 3446704160)],
    ),
    ("w48", W48, 0, [(63608225, 327121920), (63694433, 1309323264), (64120545, 5239521280)]),
    (
        "w48-spd",
        {**W48, "blocks": "spd"},
        KEPT_W48,
        [(80323617, 399393792), (80409825, 1598410752), (80835937, 6395871232)],
    ),
    (
        "w48-mgil",
        {**W48, "blocks": "mgil"},
        KEPT_W48,
        [(139644309, 609562304), (139730517, 2437847744), (140156629, 9752382144)],
    ),
    ("r50", R50, 0, [(34012177, 113258496), (34098385, 453869568), (34524497, 1817706496)]),
    (
        "r50-spd",
        {**POOLED, "blocks": "spd"},
        2 * (64 + 128 + 256 + 512),
        [(43448913, 143290368), (43535121, 573997056), (43961233, 2298216448)],
    ),
    (
        "r50-mgil-4",
        {**R50, "blocks": "mgil"},
        2 * (64 + 128 + 256 + 512),
        [(55930177, 200000752), (56016385, 800576752), (56442497, 3204273392)],
    ),
    (
        "r50-mgil-5",
        POOLED,
        2 * (64 + 128 + 256 + 512),
        [(56226779, 218876160), (56312987, 876075264), (56739099, 3506264320)],
    ),
    (
        "r50-mgil-5-sct",
        {**POOLED, "shortcuts": "sct1x1"},
        2 * (64 + 128 + 256 + 512),
        [(64484315, 237750528), (64570523, 951572736), (64996635, 3808254208)],
    ),
    (
        "r50-mgil-8",
        {**POOLED, "shortcuts": "block", "large": True},
        2 * (64 + 128 + 256 + 512 + 512 + 1024 + 2048),
        [(352159009, 893439104), (352245217, 3570195584), (352671329, 14278614144)],
    ),
]
SIZES = (32, 64, 128)
QUICK = ("w32", "r50-mgil-5")
CASES = [pytest.param(*row[1:], id=row[0], marks=() if row[0] in QUICK else pytest.mark.nightly) for row in ROWS]


def on_meta(architecture: dict[str, Any], size: int) -> PoseNetwork:
    """A network without memory for its weights."""
    with torch.device("meta"):
        return build_pose(architecture, NAMES, size)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.filterwarnings("ignore:.*1x1 shortcuts have")
@pytest.mark.parametrize(("architecture", "kept", "figures"), CASES)
def test_parameters(architecture: dict[str, Any], kept: int, figures: list[tuple[int, int]]) -> None:
    """A block takes the host's batch normalisation over; were it left, there would be `kept` more."""
    network = on_meta(architecture, 32)
    others = parameters(network) - parameters(network.head)
    for size, (expected, _) in zip(SIZES, figures, strict=True):
        bins, places = (2 if size == 128 else 3) * size, (size // 4) ** 2
        head = 17 * (network.head.final_layer.in_channels + 1) + 2 * (places + 1) * bins
        assert others + head == expected - kept
    assert parameters(network) == figures[0][0] - kept


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:.*1x1 shortcuts have")
@pytest.mark.parametrize(("name", "architecture", "kept", "figures"), ROWS, ids=[row[0] for row in ROWS])
def test_every_size_with_the_norms_that_stay(
    name: str, architecture: dict[str, Any], kept: int, figures: list[tuple[int, int]]
) -> None:
    """norms: keep."""
    for size, (expected, multiply_adds) in zip(SIZES, figures, strict=True):
        network = on_meta({**architecture, "norms": "keep"} if kept else architecture, size)
        assert (parameters(network), counted(network)) == (expected, multiply_adds)


@pytest.mark.parametrize(("name", "size"), [("r50-mgil-5", 32)])
def test_multiply_adds(name: str, size: int) -> None:
    """The whole table nightly; the normalisation that a block takes over has none."""
    row = next(row for row in ROWS if row[0] == name)
    assert counted(on_meta(row[1], size)) == row[3][SIZES.index(size)][1]


def counted(network: PoseNetwork) -> int:
    """Multiply-adds of one picture."""
    total = 0

    def count(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.ConvTranspose2d):
            total += inputs[0].numel() * layer.weight[0].numel()
        else:
            total += output.numel() * layer.weight[0].numel()

    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            layer.register_forward_hook(count)
    network.mean, network.std = network.mean.to("meta"), network.std.to("meta")
    network.eval()(torch.empty(1, 3, network.imgsz, network.imgsz, device="meta"))
    return total


@pytest.mark.nightly
def test_w32_is_simcc_s_own_network() -> None:
    """Published: 28.6 M at 64 px, and 0.6 GFLOPs, which are multiply-adds / 2^30."""
    assert f"{ROWS[0][3][1][0] / 1e6:.1f}" == "28.6" and f"{ROWS[0][3][1][1] / 2**30:.1f}" == "0.6"
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = build_pose(W32, NAMES, 64).eval()
    whole = timm.create_model("hrnet_w32", features_only=True, feature_location="").eval()
    assert not whole.load_state_dict(model.host.state_dict(), strict=False).unexpected_keys
    x = torch.rand(2, 3, 64, 64)
    assert (model.host(x)[0] - whole(x)[1]).abs().max() == 0.0


def test_the_small_networks_by_hand() -> None:
    """Four halvings of 3, 16, 32, 64 channels; blocks of 2 + 2 convolutions and MGAF in their places."""
    plain, spd, mgil, res = (on_meta_named(f"simcc-small{kind}.yaml") for kind in ("", "-spd", "-mgil", "-mgil-res"))
    widths = [(3, 16), (16, 32), (32, 64), (64, 128)]
    assert spd - plain == sum(9 * 3 * given * out for given, out in widths)
    more = 0
    for c_in, c in widths:
        hidden = max(c // 8, 8)
        more += 9 * (4 * c_in + 4 * c) * c + 10 * c + (2 * c + 3) * hidden + 2 - (9 * c_in + 2) * c
    assert res == mgil == plain + more


def on_meta_named(name: str) -> int:
    with torch.device("meta"):
        return parameters(build_pose(name, NAMES, 64))
