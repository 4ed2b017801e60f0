"""MGIL: the whole block, in place of one stride-2 layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mgil.block.cii import CII
from mgil.block.conv import ActLayer, NormLayer, begin_at_zero
from mgil.block.flie import FLIE
from mgil.block.mgaf import MGAF

CII_INPUTS = ("serial", "parallel")
FUSIONS = ("mgaf", "sum", "none")


class MGIL(nn.Module):
    """Multi-granular information-lossless block (Gu et al., ACM MM 2024): halves the map and loses no pixel.

    The output has the size that a 3x3, stride-2, padding-1 convolution gives, so the block replaces one anywhere. The
    options are the points that the paper leaves open.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        fine_convs: convolutions of the fine branch, at least 1.
        coarse_convs: convolutions of the coarse branch after MRIE, at least 1.
        lie_kernel: odd kernel size of these convolutions.
        first_kernel: odd kernel size of the fine branch's first convolution, where it is another one: 5 holds what a
            7x7 convolution of stride 2 computes.
        residual: these convolutions, the first of a branch aside, add their input to what they return, and begin by
            returning 0 (gamma and beta of their normalisation are 0); `LIE` says where they cannot. Not in the paper.
        coarse_shortcut: the coarse feature is F1 = F0 + CII(F0), and CII begins by returning 0; its convolutions have
            no shortcuts of their own. Not in the paper. With `residual` a new block computes SCT and one convolution,
            whatever MGAF's weights are, and learns the rest from there; see `mgil.block.carry_over`.
        later_act: makes the activation of all convolutions but the fine branch's first, where it is another one.
            `coarse_shortcut` needs one that is not flat at 0: with ReLU or ReLU6 as `act_layer`, give e.g. nn.SiLU.
        last_act: both branches have passed an activation; false where a sum or an activation of the network follows.
        cii_input: what the coarse branch reads: `serial`, the fine feature; `parallel`, the output of SCT.
        dilations: rates of MRIE.
        mrie: how the rates share the channels: `split`, `sum` or `concat`.
        fusion: `mgaf`, adaptive weights; `sum`, fine + coarse; `none`, the fine branch alone.
        squeeze: MGAF's 1x1 convolution reduces the 2*out_channels by this factor.
        min_squeeze: but never below this many channels.
        norm_layer: makes the normalisation from its channel count.
        act_layer: makes the activation; use the host network's.

    Shape: (B, in_channels, H, W) -> (B, out_channels, ceil(H/2), ceil(W/2)) for every H, W >= 1.

    Raises:
        ValueError: an option has an impossible value.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        fine_convs: int = 2,
        coarse_convs: int = 2,
        lie_kernel: int = 3,
        first_kernel: int | None = None,
        residual: bool = False,
        coarse_shortcut: bool = False,
        later_act: ActLayer | None = None,
        last_act: bool = True,
        cii_input: str = "serial",
        dilations: Sequence[int] = (1, 2, 3),
        mrie: str = "split",
        fusion: str = "mgaf",
        squeeze: int = 16,
        min_squeeze: int = 8,
        norm_layer: NormLayer = nn.BatchNorm2d,
        act_layer: ActLayer = nn.SiLU,
    ) -> None:
        super().__init__()
        if cii_input not in CII_INPUTS:
            raise ValueError(f"cii_input must be one of {', '.join(CII_INPUTS)}, got {cii_input!r}")
        if fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {', '.join(FUSIONS)}, got {fusion!r}")
        _check_start(residual, coarse_shortcut, fine_convs, coarse_convs, cii_input, fusion)
        self.serial = cii_input == "serial"
        self.coarse_shortcut = coarse_shortcut
        self.flie = FLIE(
            in_channels,
            out_channels,
            fine_convs,
            lie_kernel,
            residual=residual,
            last_act=last_act,
            first_kernel=first_kernel,
            later_act=later_act,
            norm_layer=norm_layer,
            act_layer=act_layer,
        )
        self.cii: CII | None = None
        if fusion != "none":
            self.cii = CII(
                out_channels if self.serial else 4 * in_channels,
                out_channels,
                coarse_convs,
                lie_kernel,
                residual=residual and not coarse_shortcut,
                last_act=last_act,
                dilations=dilations,
                mrie=mrie,
                norm_layer=norm_layer,
                act_layer=later_act or act_layer,
            )
            if coarse_shortcut:
                begin_at_zero(self.cii.lie[-1])
        self.mgaf = MGAF(out_channels, squeeze, min_squeeze) if fusion == "mgaf" else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Halve `x` (B, in_channels, H, W)."""
        phases = x if self.serial else self.flie.sct(x)
        fine = self.flie(x) if self.serial else self.flie.lie(phases)  # (B, out_channels, ceil(H/2), ceil(W/2)), F0
        if self.cii is None:
            return fine
        coarse = self.cii(fine if self.serial else phases)  # F1
        if self.coarse_shortcut:
            coarse = fine + coarse
        if self.mgaf is None:
            return fine + coarse
        return self.mgaf(fine, coarse)

    def unused_dilations(self, size_hw: tuple[int, int]) -> tuple[int, ...]:
        """Return the rates that see nothing but their own centre at this input size.

        A 3x3 convolution whose rate reaches past both sides of the map has eight taps in the padding. It runs as the
        1x1 convolution that it is, see `DilatedConv2d`.

        Args:
            size_hw: height and width of the block's input, in pixels.
        """
        if self.cii is None:
            return ()
        longer_side = (max(size_hw) + 1) // 2
        return tuple(rate for rate in self.cii.mrie.dilations if rate >= longer_side)


def _check_start(
    residual: bool, coarse_shortcut: bool, fine_convs: int, coarse_convs: int, cii_input: str, fusion: str
) -> None:
    """Refuse shortcuts that would go around nothing."""
    if not isinstance(coarse_shortcut, bool):
        raise ValueError(f"coarse_shortcut must be true or false, got {coarse_shortcut!r}")
    if coarse_shortcut and fusion == "none":
        raise ValueError("coarse_shortcut goes around the coarse branch, which fusion none does not have")
    if coarse_shortcut and cii_input != "serial":
        raise ValueError(f"coarse_shortcut adds the fine feature to what was made of it; cii_input is {cii_input!r}")
    if residual is True and fine_convs < 2 and (coarse_convs < 2 or fusion == "none" or coarse_shortcut):
        raise ValueError("residual does nothing without a branch of at least 2 convolutions")
