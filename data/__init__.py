"""Data sets as data: YAML files, labels, and (in the data path's modules) batches of images."""

from __future__ import annotations

from data.config import DataConfig, load_data_config
from data.load import load_samples
from data.samples import Samples

__all__ = ["DataConfig", "Samples", "load_data_config", "load_samples"]
