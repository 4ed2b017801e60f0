"""Data sets as data: YAML files, labels, and (in the data path's modules) batches of images."""

from __future__ import annotations

from data.config import DataConfig, load_data_config
from data.samples import Samples, load_samples

__all__ = ["DataConfig", "Samples", "load_data_config", "load_samples"]
