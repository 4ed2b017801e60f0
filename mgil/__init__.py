"""MGIL: a stride-2 layer that loses no information, for any convolutional network."""

from mgil.block import MGIL
from mgil.cii import CII
from mgil.conv import ConvNormAct
from mgil.flie import FLIE, SPDConv
from mgil.lie import LIE
from mgil.mgaf import MGAF
from mgil.mrie import MRIE
from mgil.reparameterise import reparameterise
from mgil.replace import Replacement, replace_stride2
from mgil.space_to_channel import SpaceToChannel

__version__ = "0.1.0"

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
    "reparameterise",
    "replace_stride2",
]
