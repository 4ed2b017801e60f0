"""Exact re-parameterisation: the same outputs from fewer, faster layers, for inference."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mgil.block.conv import ConvNormAct, has_own_weight, is_batchnorm, makes_graph
from mgil.block.flie import FLIE
from mgil.block.mgil import MGIL
from mgil.block.space_to_channel import SpaceToChannel

# Time of SCT + 3x3 over time of the 6x6 stride-2 convolution, batch 1, float32, torch 2.15 on two cores of a Xeon, for
# the seven stride-2 layers of YOLOv5n at three network inputs (pixels); above 1 the converted form is faster:
#
#     channels      1 thread: 64   160   640     2 threads: 64   160   640
#     3 -> 16               1.08  1.47  2.51              1.08  1.73  2.35
#     16 -> 32              1.22  1.26  1.20              1.13  1.37  1.69
#     32 -> 64              1.14  1.11  1.14              1.06  1.24  1.12
#     64 -> 64              1.16  1.23  1.14              0.96  1.29  1.11
#     64 -> 128             0.82  1.15  0.96              0.92  1.22  0.93
#     128 -> 128            1.01  1.17  1.06              0.97  1.45  1.00
#     128 -> 256            0.82  0.91  0.95              0.95  1.33  0.98
#
# Up to 32 channels the conversion won at every size; above, it depends on the size, which a module does not know.
AUTO_MAX_CHANNELS = 32


class PadToEven(nn.Module):
    """Zeros below and to the right, so that a 6x6, stride-2, padding-2 convolution returns ceil(H/2) x ceil(W/2).

    Shape: (B, C, H, W) -> (B, C, H', W') with H' in {H, H+1}; a last row or column beyond an even size is never read.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pad `x` (B, C, H, W) where it has to be."""
        # A graph always pads; eager saves the copy, which at 640 px costs as much as the stem's convolution.
        if makes_graph(x) or x.shape[2] % 2 or x.shape[3] % 2:
            return functional.pad(x, (0, 1, 0, 1))
        return x


def reparameterise(module: nn.Module, *, convert: str | Callable[[FLIE], bool] = "auto") -> nn.Module:
    """Return an inference copy of `module` that computes the same from fewer layers.

    Every batch normalisation of a `ConvNormAct` is folded into its convolution, and SCT with the first convolution of
    LIE becomes one stride-2 convolution of twice the kernel size where `convert` says so. A `MGIL` with parallel
    branches keeps its SCT, which both branches read, and layers whose weight is computed (weight norm, pruning) or
    that several blocks share stay as they are. `module` is left as it is; the copy is in eval mode and is not meant to
    be trained. Fold in float32, before any `.half()`.

    Args:
        module: a block, or any network that holds some.
        convert: `auto`, where it was measured to be faster on a CPU (inputs of at most 32 channels); `always`; `never`;
            or a function that decides for each FLIE or SPDConv.

    Raises:
        ValueError: unknown `convert`, or a module that cannot be copied.
    """
    rules: dict[str, Callable[[FLIE], bool]] = {
        "auto": lambda flie: _first_conv(flie).in_channels // 4 <= AUTO_MAX_CHANNELS,
        "always": lambda flie: True,
        "never": lambda flie: False,
    }
    if isinstance(convert, str) and convert not in rules:
        raise ValueError(f"convert must be one of {', '.join(rules)} or a function, got {convert!r}")
    wanted = rules[convert] if isinstance(convert, str) else convert
    try:
        deployed = copy.deepcopy(module).eval()
    except RuntimeError as error:  # a weight that an older weight norm or pruning left behind
        raise ValueError(f"{type(module).__name__} cannot be copied: {error}") from error
    layers = list(deployed.modules())
    parallel = {block.flie for block in layers if isinstance(block, MGIL) and not block.serial}
    users = Counter(_first_conv(layer) for layer in layers if isinstance(layer, FLIE))
    for layer in layers:
        if isinstance(layer, ConvNormAct):
            _fold_norm(layer)
        elif isinstance(layer, FLIE) and layer not in parallel and isinstance(layer.sct, SpaceToChannel):
            first = _first_conv(layer)
            if users[first] == 1 and has_own_weight(first) and wanted(layer):
                _convert(layer)
    return deployed


def _fold_norm(layer: ConvNormAct) -> None:
    norm = layer.bn
    # A normalisation by the batch at hand, or GroupNorm, depends on the image and cannot be folded.
    if is_batchnorm(norm) and norm.running_mean is not None and has_own_weight(layer.conv):
        layer.conv = fuse_conv_bn_eval(layer.conv, norm)
        layer.bn = nn.Identity()


def _first_conv(flie: FLIE) -> nn.Conv2d:
    return flie.lie.get_submodule("0.conv")  # type: ignore[return-value]


def _convert(flie: FLIE) -> None:
    conv = _first_conv(flie)
    kernel = strided_kernel(conv.weight.detach())
    out_channels, in_channels, size, _ = kernel.shape
    padding = 2 * (conv.kernel_size[0] // 2)
    strided = nn.Conv2d(in_channels, out_channels, size, stride=2, padding=padding, bias=conv.bias is not None)
    strided.weight = nn.Parameter(kernel)
    strided.bias = conv.bias
    flie.lie[0].conv = strided.eval()
    flie.sct = PadToEven()


def strided_kernel(weight: torch.Tensor) -> torch.Tensor:
    """Re-index the kernel (O, 4*C, k, k) over the phases of SCT as the kernel (O, C, 2*k, 2*k) over pixels."""
    out_channels, in_channels, size, _ = weight.shape
    phases = weight.reshape(out_channels, 2, 2, in_channels // 4, size, size)  # (O, column, row, C, k, k), SCT's order
    pixels = phases.permute(0, 3, 4, 2, 5, 1)  # (O, C, k, row, k, column)
    return pixels.reshape(out_channels, in_channels // 4, 2 * size, 2 * size).contiguous()


def phase_kernel(kernel: torch.Tensor) -> torch.Tensor:
    """Re-index the kernel (O, C, 2*k, 2*k) over pixels as (O, 4*C, k, k) over phases: `strided_kernel`'s inverse."""
    out_channels, in_channels, size, _ = kernel.shape
    pixels = kernel.reshape(out_channels, in_channels, size // 2, 2, size // 2, 2)  # (O, C, k, row, k, column)
    phases = pixels.permute(0, 5, 3, 1, 2, 4)  # (O, column, row, C, k, k), SCT's order
    return phases.reshape(out_channels, 4 * in_channels, size // 2, size // 2).contiguous()
