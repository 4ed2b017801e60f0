"""The network as it is exported: re-parameterised for one runtime, with nothing in it that the runtime need not do."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mgil.block.flie import FLIE
from mgil.block.mgil import MGIL
from mgil.block.mrie import DilatedConv2d
from mgil.block.reparameterise import PadToEven
from mgil.block.space_to_channel import SpaceToChannel
from mgil.engine.export.blocks import DeployedMGAF, DeployedMRIE, SpaceToDepth
from mgil.networks.network import Network
from mgil.tasks.base import Task

# Milliseconds of 1x1 conv, FLIE's first layer in one of three forms, 1x1 conv; batch 1, float32, one thread of a Xeon
# with AVX-512; least CPU time of 25 to 150 runs. Forms: one 6x6 stride-2 convolution; ONNX's SpaceToDepth and a 3x3
# convolution; the four slices that the block is written with, and the 3x3 convolution.
#
#                        64 px                160 px                640 px
#   ONNX Runtime   6x6   S2D   slices    6x6   S2D   slices    6x6   S2D   slices
#     3 -> 16      .051  .061  .084      .281  .305  .416      6.03  7.10   8.88
#    16 -> 32      .096  .105  .146      .529  .578  .746     10.27 11.69  15.09
#    32 -> 64      .087  .087  .111      .457  .471  .592      7.77  8.51  10.17
#    64 -> 64      .072  .067  .081      .265  .259  .324      3.86  4.07   5.32
#    64 -> 128     .136  .120  .134      .514  .480  .538      7.21  7.35   8.58
#   128 -> 128     .127  .127  .140      .334  .302  .343      3.73  3.67   4.26
#   128 -> 256     .241  .233  .244      .626  .557  .592      7.32  7.00   7.49
#   OpenVINO
#     3 -> 16      .164  .165  .203      .520  .506  .736     14.17 15.08  19.12
#    16 -> 32      .135  .137  .145      .666  .687  .744     14.69 15.37  16.75
#    32 -> 64      .127  .128  .132      .533  .541  .560      9.95 10.25  10.75
#    64 -> 64      .112  .114  .114      .289  .293  .302      4.20  4.22   4.50
#    64 -> 128     .176  .177  .181      .486  .486  .495      8.15  8.09   8.46
#   128 -> 128     .201  .200  .202      .346  .342  .349      4.15  3.89   3.93
#   128 -> 256     .333  .336  .339      .915  .942  .948      7.96  7.89   8.10
#
# Up to 32 channels the 6x6 form wins in both, above they differ by little and mostly in favour of SpaceToDepth.
SPACE_TO_DEPTH = ("onnx", "openvino", "engine")  # what reads ONNX; others have no such operator
CONVOLUTIONS_ONLY = ("coreml", "tflite", "ncnn")  # not measured, but every phone has fast convolutions


def stays(flie: FLIE) -> bool:
    """Whether FLIE's first layer keeps its space-to-channel step; see the table above."""
    conv = flie.lie.get_submodule("0.conv")
    assert isinstance(conv, nn.Conv2d)
    return conv.in_channels // 4 > 32


class DeployedNetwork(nn.Module):
    """A network that takes and returns float32 whatever it computes in.

    Args:
        model: with the head that the task has for runtimes.
        half: the network is float16.
    """

    def __init__(self, model: Network, half: bool) -> None:
        super().__init__()
        self.model = model
        self.half_precision = half

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) RGB in 0..1 to what the task's head for runtimes gives."""
        return self.model(images.half() if self.half_precision else images)


@torch.no_grad()
def deployed(
    task: Task, model: Network, runtime: str, size_hw: tuple[int, int] | None, half: bool = False
) -> DeployedNetwork:
    """A copy of a trained model in the form chosen for a runtime; the outputs are the same.

    The form was measured with ONNX Runtime and OpenVINO; the others follow the same rule, or what was said of phones.

    Args:
        task: what the model is for.
        model: as trained, float32.
        runtime: who will run it: the format's name in --include.
        size_hw: the only input size; None: any multiple of the stride.
        half: compute in float16, but for what the task's head for runtimes decodes.

    Raises:
        ValueError: the task has no head for runtimes in place of the model's.
    """
    twin = model.fused(_rule(runtime, size_hw is None))
    if maps_are_even(model):
        _drop_padding(twin, runtime in SPACE_TO_DEPTH)
    if size_hw is not None:
        _drop_dead_taps(twin, size_hw)
    for block in [layer for layer in twin.modules() if isinstance(layer, MGIL)]:
        if block.mgaf is not None:
            block.mgaf = DeployedMGAF(block.mgaf)  # type: ignore[assignment]
        if block.cii is not None and not block.cii.mrie.adds and _plain(block.cii.mrie.branches):
            block.cii.mrie = DeployedMRIE(block.cii.mrie)  # type: ignore[assignment]
    twin = twin.half() if half else twin
    task.deploy_head(model, twin, size_hw)
    return DeployedNetwork(twin.eval(), half).requires_grad_(False)


def _rule(runtime: str, any_size: bool) -> str | Callable[[FLIE], bool]:
    if runtime in CONVOLUTIONS_ONLY:
        return "always"
    if runtime == "openvino" and any_size:
        return "never"  # behind several 6x6 convolutions it fails on free sizes: 1 px would give a map of no pixels
    return lambda flie: not stays(flie)


def _drop_padding(twin: Network, has_operator: bool) -> None:
    """Let every space-to-channel step rely on even sides."""
    parallel = {block.flie: block for block in twin.modules() if isinstance(block, MGIL) and not block.serial}
    for layer in [layer for layer in twin.modules() if isinstance(layer, FLIE)]:
        if isinstance(layer.sct, PadToEven):
            layer.sct = nn.Identity()
        elif isinstance(layer.sct, SpaceToChannel) and has_operator:
            readers = [layer.lie.get_submodule("0.conv")]
            cii = parallel[layer].cii if layer in parallel else None
            if cii is not None:
                readers += [branch.conv for branch in cii.mrie.branches]  # type: ignore[misc]
            layer.sct = SpaceToDepth(readers)  # type: ignore[arg-type]


def _drop_dead_taps(twin: Network, size_hw: tuple[int, int]) -> None:
    """Make dilated convolutions plain ones, without the taps that meet nothing but padding at the only input size."""
    for name, sizes in _map_sizes(twin, DilatedConv2d, size_hw).items():
        heights, widths = zip(*sizes, strict=True)
        twin.set_submodule(name, twin.get_submodule(name).at_size(max(heights), max(widths)))  # type: ignore[operator]


def maps_are_even(model: Network) -> bool:
    """Whether every space-to-channel layer gets even sides, at every input size that the network takes."""
    stride = model.max_stride
    found = _map_sizes(model, SpaceToChannel, (stride, 3 * stride) if model.any_size else (model.imgsz, model.imgsz))
    return all(height % 2 == 0 and width % 2 == 0 for sizes in found.values() for height, width in sizes)


def _map_sizes(model: Network, kind: type[nn.Module], size_hw: tuple[int, int]) -> dict[str, list[tuple[int, int]]]:
    """Height and width of every map that layers of a kind get at an input size, by their names."""
    found: dict[str, list[tuple[int, int]]] = {}

    def looking(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _layer, inputs: found.setdefault(name, []).append((inputs[0].shape[2], inputs[0].shape[3]))

    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, kind)]
    if not layers:
        return found
    hooks = [layer.register_forward_pre_hook(looking(name)) for name, layer in layers]
    try:
        model(torch.zeros(1, model.architecture.get("ch", 3), *size_hw, device=model.stride.device))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _plain(branches: nn.ModuleList) -> bool:
    """Whether the rates have no normalisation left, and one kind of activation."""
    return all(isinstance(branch.bn, nn.Identity) for branch in branches)
