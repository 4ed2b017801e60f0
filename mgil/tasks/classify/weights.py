"""Weights of others for a classifier: timm's and torchvision's for a host, YOLOv5's for rows."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mgil.networks import host_config
from mgil.networks.host_weights import Taken, take_tensors
from mgil.tasks.classify.network import ClassNetwork, build_class_network


def take_class_weights(model: ClassNetwork, tensors: Mapping[str, Tensor]) -> Taken:
    """Fill a classifier from tensors by name, as far as they fit; the last layer only where the classes are as many.

    A block that can compute what a layer of the weights does begins as that layer.

    Args:
        model: Filled in place.
        tensors: With the names of timm, YOLOv5 or this project, see `mgil.networks.host_weights.read_tensors`.

    Raises:
        ValueError: None of the tensors fits.
    """
    own = set(model.state_dict())
    named = {_renamed(key, own): value for key, value in tensors.items()}
    return take_tensors(model, named, lambda: without_blocks(model))


def without_blocks(model: ClassNetwork) -> ClassNetwork:
    """The same network as its host was before the blocks, untrained; rows are as they are."""
    architecture = model.architecture
    plain = host_config.without_blocks(architecture) if "host" in architecture else architecture
    return build_class_network(plain, model.names, model.imgsz)


def _renamed(key: str, own: set[str]) -> str:
    return key if key in own or f"host.{key}" not in own and key.startswith(("host.", "model.")) else f"host.{key}"
