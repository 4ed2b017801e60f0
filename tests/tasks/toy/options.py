"""The toy's flags."""

from __future__ import annotations

from dataclasses import dataclass

from mgil.files.flags import flag, fraction


@dataclass(frozen=True)
class ToyOptions:
    """One flag, for every command."""

    brightness: float = flag(1.0, kind=fraction, help="multiplies the colours that are learnt")


OPTIONS = dict.fromkeys(("train", "val", "detect", "export"), ToyOptions)
