"""MGIL: a stride-2 layer that loses no information, for any convolutional network."""

from mgil.block.carry_over import carry_over
from mgil.block.cii import CII
from mgil.block.conv import ConvNormAct
from mgil.block.flie import FLIE, SPDConv
from mgil.block.lie import LIE
from mgil.block.mgaf import MGAF
from mgil.block.mgil import MGIL
from mgil.block.mrie import MRIE
from mgil.block.reparameterise import reparameterise
from mgil.block.replace import Replacement, replace_stride2
from mgil.block.space_to_channel import SpaceToChannel

__all__ = [
    "CII",
    "ConvNormAct",
    "FLIE",
    "LIE",
    "MGAF",
    "MGIL",
    "MRIE",
    "Replacement",
    "SPDConv",
    "SpaceToChannel",
    "carry_over",
    "reparameterise",
    "replace_stride2",
]
