"""The detection network: a YAML architecture brought to life."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mgil.block.flie import FLIE
from mgil.block.reparameterise import reparameterise
from mgil.networks.config import load_architecture
from mgil.networks.head import Detect
from mgil.networks.layers import Conv
from mgil.networks.limits import MOST_CLASSES, check_parameters
from mgil.networks.moved_rows import ROW, source_row, with_names_of
from mgil.networks.network import Network
from mgil.networks.parser import parse
from mgil.networks.rows import PROBE_SIZE, probe, read_later, run_rows


class DetectionModel(Network):
    """A YOLOv5-style detector.

    Attributes:
        model: The layers in YAML order, so that state_dict keys are YOLOv5's (`model.0.conv.weight`, ...).
        architecture: The mapping it was built from, complete: a checkpoint rebuilds the network from it.
        names: Class names by index.
        imgsz: Side in pixels that the biases and anchors were made for; also the default at inference.
        stride: Stride of each level in pixels.
        max_stride: Largest stride of any layer in pixels, also of those below the head's last level.
    """

    def __init__(
        self,
        architecture: Mapping[str, Any],
        names: Sequence[str] | None = None,
        imgsz: int = 640,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.architecture = load_architecture(architecture)
        num_classes = self.architecture.get("nc")
        source = self.architecture["source"]
        if type(num_classes) is not int or not 1 <= num_classes <= MOST_CLASSES:
            raise ValueError(f"{source}: nc is {num_classes!r:.60}, must be an integer from 1 to {MOST_CLASSES}")
        if self.architecture.get("ch", channels) != channels:
            raise ValueError(f"{source}: ch is {self.architecture['ch']!r:.60}, but images have {channels} channels")
        self.architecture["ch"] = channels
        with torch.device("meta"):  # takes no memory
            check_parameters(parse(self.architecture, channels).layers, source)
        network = parse(self.architecture, channels)
        self.model = network.layers
        self.sources = network.sources
        self.kept_rows = read_later(network.sources)
        self.imgsz = imgsz
        self.names = tuple(names) if names is not None else tuple(str(i) for i in range(num_classes))
        if len(self.names) != num_classes:
            raise ValueError(f"{len(self.names)} class names for nc={num_classes}")
        self._read_strides(channels)
        if self.head.start_only:
            write_anchors(self)
        self.head.start_biases(imgsz)

    @property
    def rows(self) -> Sequence[nn.Module]:
        """The rows of the YAML."""
        return list(self.model)

    @property
    def head(self) -> Detect:
        """The last layer."""
        head = self.model[-1]
        assert isinstance(head, Detect)
        return head

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.head.num_classes

    @property
    def stride(self) -> Tensor:
        """Stride of each level in pixels, (levels,)."""
        return self.head.stride

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Detect.

        Args:
            x: (B, 3, H, W), RGB in 0..1; H and W multiples of `max_stride`.

        Returns:
            Training: raw maps, a list of (B, anchors, ny, nx, nc+5). Evaluation: (B, N, nc+5), see `Detect.decode`.
        """
        raws = self.raw(x)
        return raws if self.training else self.head.decode(raws)

    def raw(self, x: Tensor) -> list[Tensor]:
        """Raw maps of every level, in training and evaluation alike."""
        raws: list[Tensor] = run_rows(self.model, self.sources, self.kept_rows, x)
        return raws

    def with_own_names(self, state_dict: Mapping[str, Tensor], source: Network) -> Mapping[str, Tensor]:
        """See `mgil.networks.moved_rows`."""
        return with_names_of(self, source, state_dict) if isinstance(source, DetectionModel) else state_dict

    def name_in(self, source: Network, name: str) -> str:
        """See `mgil.networks.moved_rows.source_row`."""
        match = ROW.match(name)
        if not match or not isinstance(source, DetectionModel):
            return name
        row = source_row(self, source, int(match[1]))
        return "" if row is None else f"model.{row}{name[match.end() :]}"

    def in_class_order(self, state_dict: Mapping[str, Tensor], names: Sequence[str]) -> Mapping[str, Tensor]:
        """The rows of the head that are a class's, in the order of the names; what is of no class comes along."""
        prefix = f"model.{len(self.model) - 1}."
        return self.head.in_class_order(state_dict, prefix, self.places_of(names), len(names))

    @torch.no_grad()
    def fused(self, convert: str | Callable[[FLIE], bool] = "auto") -> DetectionModel:
        """A copy for inference: BatchNorm folded, MGIL blocks re-parameterised; the outputs are the same.

        Args:
            convert: Which space-to-channel + conv pairs become one 6x6 convolution (see `mgil.block.reparameterise`).
        """
        twin = reparameterise(self, convert=convert)
        assert isinstance(twin, DetectionModel)
        for layer in twin.modules():
            if isinstance(layer, Conv):
                layer.fold()
        return twin

    def _read_strides(self, channels: int) -> None:
        """Run blank images and compare map sizes with the input's."""
        was_training = self.training
        self.eval()
        heights, least = self._map_heights(channels, PROBE_SIZE)
        # the nearest power of two: a convolution without padding loses a border, not a stride
        self.max_stride = 2 ** round(math.log2(PROBE_SIZE / least))
        strides = [PROBE_SIZE / height for height in heights]
        fixed = any(isinstance(layer, nn.Upsample) and layer.size is not None for layer in self.model.modules())
        if fixed or not all(math.log2(stride).is_integer() for stride in strides):
            halves, _ = self._map_heights(channels, PROBE_SIZE // 2)
            for level, (height, half) in enumerate(zip(heights, halves, strict=True)):
                if height == half or not math.log2(PROBE_SIZE // 2 / (height - half)).is_integer():
                    raise ValueError(
                        f"{self.architecture['source']}: level {level} of the head has {height} rows at {PROBE_SIZE} "
                        f"px and {half} at {PROBE_SIZE // 2} px; strides must be powers of two"
                    )
        self.train(was_training)
        self.head.set_strides(strides)

    def _map_heights(self, channels: int, size: int) -> tuple[list[int], int]:
        """Rows of the head's maps, and of the smallest map on the way, for a square image of `size` px."""
        raws, least = probe(self.model, self.sources, self.architecture, channels, size)
        return [raw.shape[2] for raw in raws], least


def write_anchors(model: DetectionModel) -> None:
    """Write the head's anchors in pixels into `architecture`, so that what is built from it has the same."""
    architecture = model.architecture
    architecture["anchors"] = model.head.anchors_px.flatten(1).tolist()
    *rows, (came_from, number, name, arguments) = architecture["head"]
    if len(arguments) > 1 and isinstance(arguments[1], int | list):  # written in the row
        arguments = [arguments[0], "anchors", *arguments[2:]]
    architecture["head"] = [*rows, [came_from, number, name, arguments]]


def build_model(
    cfg: str | Path | Mapping[str, Any],
    *,
    num_classes: int | None = None,
    names: Sequence[str] | None = None,
    imgsz: int = 640,
    channels: int = 3,
) -> DetectionModel:
    """Build a detector.

    Args:
        cfg: Name or path of a model YAML ("yolov5n-mgil.yaml"), or the mapping itself.
        num_classes: Replaces the file's `nc`; taken from `names` where these are given.
        names: Class names; "0", "1", ... by default.
        imgsz: Training size in pixels, which the bias start depends on.
        channels: Channels of the input image.

    Raises:
        FileNotFoundError: No such model.
        ValueError: A wrong YAML; the message names file and row.
    """
    architecture = load_architecture(cfg)
    if num_classes is not None or names is not None:
        architecture["nc"] = num_classes if num_classes is not None else len(names or ())
    return DetectionModel(architecture, names, imgsz, channels)
