"""Weights of others for a network of pose: timm's for its host, or SimCC's for all of it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mgil.networks import host_config
from mgil.networks.host_weights import Taken, take_tensors
from mgil.tasks.pose.network import PoseNetwork

# How the names of a part begin in SimCC's files, and where it is here; all others are the host's.
PARTS = {"final_layer.": "head.final_layer.", "mlp_head_": "head.mlp_head_", "deconv_layers.": "neck."}
OF_CLASSIFIERS = ("classifier.", "fc.", "incre_modules.", "downsamp_modules.", "final_layer.0.", "final_layer.1.")


def load_host_weights(model: PoseNetwork, state_dict: Mapping[str, Tensor]) -> Taken:
    """Fill a network from tensors with the names of timm, SimCC or this project, as far as they fit.

    A block that can compute what a layer of the weights does begins as that layer.

    Args:
        model: Filled in place.
        state_dict: Tensors by name, see `mgil.networks.host_weights.read_tensors`.

    Raises:
        ValueError: None of the tensors fits.
    """
    own = set(model.state_dict())
    tensors = {_renamed(key, own): value for key, value in state_dict.items() if not key.startswith(OF_CLASSIFIERS)}
    return take_tensors(model, tensors, lambda: without_blocks(model))


def without_blocks(model: PoseNetwork) -> PoseNetwork:
    """The same network as its host was before the blocks, untrained."""
    return PoseNetwork(host_config.without_blocks(model.architecture), model.names, model.imgsz)


def _renamed(key: str, own: set[str]) -> str:
    if key in own or key.startswith("host."):
        return key
    for begin, here in PARTS.items():
        if key.startswith(begin):
            return here + key.removeprefix(begin)
    return f"host.{key}"
