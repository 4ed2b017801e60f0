"""`python hubconf.py`: a look at whether a model works, on the pictures of data/images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgil.engine.cli import one_line_errors, parse, run_cli
from mgil.files.flags import check_fields, flag


@dataclass(frozen=True)
class HubFlags:
    """One run of hubconf.py; the fields are its flags."""

    model: str = flag("yolov5s", help="weights: a .pt file, an exported one, or a name of YOLOv5, as yolov5n")
    download: bool = flag(False, help="fetch YOLOv5's weights by their name, when they are missing")

    def __post_init__(self) -> None:
        check_fields(self)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `hubconf.py`.

    Raises:
        SystemExit: The run failed; what to do is printed.
    """
    with one_line_errors():
        config = parse(HubFlags, arguments, description="Load a model as torch.hub does, and run it on a few pictures.")
        run_cli(lambda: run_hub(config))


def run_hub(config: HubFlags) -> Path:
    """Load a model and run it on pictures of every kind; the folder of the drawn ones is returned.

    Raises:
        FileNotFoundError, ValueError, OSError: As `mgil.engine.hub.load.open_weights`.
    """
    import numpy as np
    from PIL import Image

    from mgil.engine.hub.load import open_weights
    from mgil.engine.runtimes.model import fixed_size_hw
    from mgil.files.shipped import EXAMPLES

    path = Path(config.model)
    if not path.suffix and not path.is_dir():
        path = path.with_suffix(".pt")
    model: Any = open_weights(path, download=config.download)
    first, *_, last = sorted(EXAMPLES.glob("*.png"))
    picture = Image.open(last)
    kinds = [str(first), first, np.asarray(picture.convert("RGB")), picture, np.zeros((320, 640, 3), np.uint8)]
    results = model(kinds, size=fixed_size_hw(model.model) or 320)
    results.print()
    return Path(results.save())
