"""Networks of timm as classifiers: whole, with their own heads, and with stems for small pictures."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from mgil.networks.host_config import HostConfig
from mgil.networks.hosts import NOT_BUILT, OWN, check_fits, said, timm, timm_options, with_blocks

# How often a ResNet halves the picture before its first stage: imagenet, a 7x7 layer of stride 2 and a max pool, twice;
# half, a 3x3 layer of stride 2, once; cifar, a 3x3 layer of stride 1, never.
STEMS = {"imagenet": 4, "half": 2, "cifar": 1}
# Where timm's networks have their dropout before the last layer, unless it is a number of theirs.
DROPOUTS = ("head_drop", "head.drop", "head_dist.drop", "head.dropout", "head.head_dropout")
DEFAULT_STRIDE = 32  # of networks that do not say


@dataclass(frozen=True)
class ClassHost:
    """A classifier of timm.

    Attributes:
        config: Which network, and its blocks.
        classes: Number of classes.
        imgsz: Side of its pictures in pixels; others see other sizes too, but not those with positions, e.g. ViTs.
        stem: A key of `STEMS`.
        source: Its name for messages.
    """

    config: HostConfig
    classes: int
    imgsz: int
    stem: str
    source: str

    def checked(self) -> ClassHost:
        """This, if it can be built, fits into memory and sees pictures of its size.

        Raises:
            ValueError: It does not; the message names the file and what to change.
        """
        facts = {**asdict(self), "config": self.config.plain()}
        check_fits(facts, self.build, self.source, self._check_sight)
        return self

    def build(self) -> nn.Module:
        """The network, untrained.

        It has `max_stride`, and `any_size`: whether it sees other sizes than `imgsz`. Where its stem has no pool, the
        blocks of `pools: block` are those of other pools, if there are any.

        Raises:
            ValueError: It cannot be built so; the message names the file and what to change.
        """
        config = self.config
        if config.host in OWN:
            raise ValueError(f"{self.source}: host {config.host} is a host for poses; a classifier is one of timm's")
        pools = config.pools if self.stem == "imagenet" else "keep"
        return with_blocks(replace(config, pools=pools), self.source, self._create)

    def _create(self, config: HostConfig, source: str) -> nn.Module:
        create = timm().create_model
        options = {"num_classes": self.classes, **timm_options(config, source)}
        known: Any = timm().get_pretrained_cfg(config.host, allow_unregistered=True)
        narrow = self.stem != "imagenet" and "channels" in options and getattr(known, "first_conv", "") == "conv1"
        if narrow:  # timm's own stem is 64 wide, whatever the stages are; it takes the width of a deep one alone
            options |= {"stem_type": "deep", "stem_width": self._half_stem(options)}
        any_size = not getattr(known, "fixed_input_size", False)
        try:
            host = create(config.host, **options, **({} if any_size else {"img_size": self.imgsz}))
        except TypeError:
            if any_size:
                raise
            host = create(config.host, **options)
        host.any_size = any_size
        host.max_stride = _stride(host)
        if self.stem != "imagenet":
            self._put_in_stem(host, narrow)
        return host

    def _half_stem(self, options: dict[str, Any]) -> int:
        width = options["channels"][0]
        if "stem_width" in options:
            raise ValueError(
                f"{self.source}: host_options: stem: {self.stem} has no stem_width; channels says its width"
            )
        if width < 2 or width % 2:
            raise ValueError(
                f"{self.source}: host_options: channels {width}, ...: the first must be even with stem: {self.stem}"
            )
        return int(width // 2)

    def _put_in_stem(self, host: Any, narrow: bool) -> None:
        """Give a ResNet a 3x3 layer in place of its pool and its 7x7 layer, or the deep stem of a `narrow` one."""
        first: Any = getattr(host, "conv1", None)
        pool = getattr(host, "maxpool", None)
        plain = isinstance(first, nn.Conv2d) and first.kernel_size == (7, 7)
        if not (plain or narrow) or pool is None:
            raise ValueError(
                f"{self.source}: stem: {self.stem} is for ResNets with a 7x7 layer and a pool, not for "
                f"{self.config.host}; leave it out"
            )
        stride = STEMS[self.stem]
        first = first[0] if narrow else first
        host.conv1 = nn.Conv2d(first.in_channels, host.bn1.num_features, 3, stride, 1, bias=False)
        nn.init.kaiming_normal_(host.conv1.weight, mode="fan_out", nonlinearity="relu")  # as timm does
        host.maxpool = nn.Identity()
        host.max_stride = host.max_stride * stride // STEMS["imagenet"]

    def _check_sight(self, host: Any) -> None:
        """Run a picture without memory through the network, of its size rounded up to the stride."""
        side = -(-self.imgsz // host.max_stride) * host.max_stride
        if not host.any_size and side != self.imgsz:
            return  # whoever rounds builds it again
        try:
            found = host.eval()(torch.empty(1, 3, side, side))
        except (*NOT_BUILT, ValueError) as error:
            what = f"{self.source}: {self.config.host} does not see pictures of {side} px"
            raise ValueError(f"{what}: {said(error)}") from error
        if not isinstance(found, torch.Tensor) or found.shape != (1, self.classes):
            raise ValueError(f"{self.source}: {self.config.host} gives no score for each of {self.classes} classes")


def _stride(host: Any) -> int:
    """The largest stride by what timm says of the network; 1 where its own size is no multiple of that."""
    levels = getattr(host, "feature_info", None) or [{}]
    stride = int(levels[-1].get("reduction", DEFAULT_STRIDE))
    return stride if host.pretrained_cfg["input_size"][-1] % stride == 0 or host.any_size else 1


def normalisation_of(host: Any) -> tuple[list[float], list[float]]:
    """Mean and standard deviation by channel, RGB in 0..1, that timm's weights of a network were trained with."""
    return [list(map(float, host.pretrained_cfg[key])) for key in ("mean", "std")]  # type: ignore[return-value]


def class_layers(host: Any) -> tuple[str, ...]:
    """Names of the layers whose rows are the classes."""
    names = host.pretrained_cfg["classifier"]
    return (names,) if isinstance(names, str) else tuple(names)


def set_dropout(host: Any, probability: float, source: str, imgsz: int) -> None:
    """How often an input of the last layer is left out of a training step.

    Args:
        host: From `ClassHost.build`.
        probability: From 0 to below 1.
        source: The network's name for messages.
        imgsz: Side of its pictures in pixels.

    Raises:
        ValueError: The network has no such dropout.
    """
    layers = dict(host.named_modules())
    dropouts = [layers[name] for name in DROPOUTS if isinstance(layers.get(name), nn.Dropout)]
    for layer in dropouts:
        layer.p = probability
    parts = [name for name in ("", "head") if isinstance(getattr(layers.get(name), "drop_rate", None), float)]
    for name in parts:
        layers[name].drop_rate = probability  # type: ignore[assignment]
    if probability and not dropouts and not _drops(host, parts, imgsz):
        raise ValueError(f"{source}: dropout is {probability}, but its host has none before its last layer")


def _drops(host: Any, parts: list[str], imgsz: int) -> bool:
    """Whether any of these parts reads its `drop_rate` in training; some of timm's only keep it."""
    twin = deepcopy(host).to("meta").eval()
    for name in parts:
        twin.get_submodule(name).training = True
    side = -(-imgsz // host.max_stride) * host.max_stride
    with _Dropouts() as seen:
        twin(torch.empty(1, 3, side, side, device="meta"))
    return seen.active


class _Dropouts(TorchFunctionMode):
    """Watches for calls of `dropout` that leave anything out."""

    active = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.dropout:
            given = dict(zip(("input", "p", "training"), args, strict=False)) | (kwargs or {})
            self.active |= bool(given.get("p", 0.5) and given.get("training", True))
        return func(*args, **(kwargs or {}))
