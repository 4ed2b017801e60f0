"""What every trainable network has, whatever its task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mgil.block.flie import FLIE
from mgil.files.class_names import places_in, rows_by_name
from mgil.networks.precision import DTYPES, as_float32, autocast

ROUNDED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)  # layers that autocast casts the weights of


class Network(nn.Module, ABC):
    """A network that a checkpoint can rebuild.

    In training mode its outputs are what the task's loss takes; in evaluation mode they are predictions.

    Attributes:
        architecture: Plain values that it was built from, complete: a checkpoint rebuilds the network from them.
            `source` is its name for messages.
        names: Class names by index.
        imgsz: Side in pixels that it was made for; also the default at inference.
        max_stride: Largest stride of any layer; sides of the input are multiples of it.
        any_size: It takes inputs of other sizes than `imgsz` too.
        amp: Number type that it computes in when it is called, a key of `mgil.networks.precision.DTYPES`; its outputs
            are float32 nevertheless. In training the trainer chooses, and this is "off".
    """

    architecture: dict[str, Any]
    names: tuple[str, ...]
    imgsz: int
    max_stride: int
    any_size: bool = True
    amp: str = "off"
    _exact: Sequence[tuple[nn.Module, str, nn.Parameter]] = ()  # what `computing_in` took the place of

    def __call__(self, images: Tensor) -> Any:
        """Run the hooks and `forward`, in the number type of `amp`."""
        if self.amp == "off":
            return super().__call__(images)
        with autocast(images.device, self.amp):
            return as_float32(super().__call__(images))

    def computing_in(self, amp: str) -> Network:
        """This network, for inference in another number type, in the memory layout that suits it.

        The weights of its layers are rounded once, as autocast rounds them in every call, which takes longer than small
        images do. "off" brings them back.
        """
        for layer, name, exact in self._exact:
            setattr(layer, name, exact)
        self.amp, self._exact = amp, []
        if amp == "off":
            return self
        for layer in self.modules():
            for name, exact in list(layer.named_parameters(recurse=False)) if isinstance(layer, ROUNDED) else ():
                self._exact.append((layer, name, exact))
                setattr(layer, name, nn.Parameter(exact.detach().to(DTYPES[amp]), requires_grad=False))
        return self.to(memory_format=torch.channels_last)

    @property
    def rows(self) -> Sequence[nn.Module]:
        """Its parts from the input to the output, the head last: what --freeze counts and --visualize shows."""
        return list(self.children())

    @property
    def stride(self) -> Tensor:
        """Stride of each output level in pixels, (levels,)."""
        return torch.tensor([float(self.max_stride)])

    def take_facts(self, architecture: Mapping[str, Any]) -> None:  # noqa: B027
        """Keep what another network, whose tensors this one takes whole, knows beside them; of most, nothing.

        Raises:
            ValueError: This one would read the same outputs otherwise.
        """

    def with_own_names(self, state_dict: Mapping[str, Tensor], source: Network) -> Mapping[str, Tensor]:
        """Tensors of another network of the same task, with this one's names for what is the same at another place.

        Args:
            state_dict: Its tensors.
            source: That network.

        Returns:
            The tensors; others than these are named as they were.
        """
        return state_dict

    def name_in(self, source: Network, name: str) -> str:
        """The name in another network of the same task of what is called `name` here; "": it is not there."""
        return name

    def in_class_order(self, state_dict: Mapping[str, Tensor], names: Sequence[str]) -> Mapping[str, Tensor]:
        """Tensors of another network as this one can take them: what is a class's goes to the class of that name.

        Of other classes than this one's, the tensors of the last row are filled up with this network's own.

        Args:
            state_dict: Its tensors; without outputs by class they stay as they are.
            names: Its class names.
        """
        return state_dict

    def places_of(self, names: Sequence[str]) -> list[int | None]:
        """For each of this network's names the index among those of another network; None: nothing there is its own.

        Of as many names each has one: its own, or one that is left.
        """
        if len(names) == len(self.names):
            return [*rows_by_name(names, self.names)]
        return [place if place >= 0 else None for place in places_in(names, self.names)]

    @abstractmethod
    def fused(self, convert: str | Callable[[FLIE], bool] = "auto") -> Network:
        """A copy for inference with the same outputs: BatchNorm folded, blocks re-parameterised.

        Args:
            convert: Which space-to-channel + conv pairs become one 6x6 convolution (see `mgil.block.reparameterise`).
        """
