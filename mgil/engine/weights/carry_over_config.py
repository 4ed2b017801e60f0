"""What `mgil carry-over` can be told."""

from __future__ import annotations

from dataclasses import dataclass

from mgil.files.flags import check_fields, flag


@dataclass(frozen=True)
class CarryOverConfig:
    """One run of `mgil carry-over`; the fields are its flags.

    Raises:
        ValueError: A value that cannot be right; the flag is named.
    """

    weights: str = flag(help="weights file (.pt) of a network with plain stride-2 layers; it stays as it is")
    cfg: str = flag(help="model YAML with blocks in their places, e.g. yolov5n-mgil-res.yaml for yolov5n.pt")
    output: str = flag("", help="file to write (.pt); default: the name of --cfg, beside the weights")
    exist_ok: bool = flag(False, help="replace the file to write where it exists")
    download: bool = flag(False, help="fetch YOLOv5's weights by their name, when they are missing")

    def __post_init__(self) -> None:
        check_fields(self)
        if self.output and not str(self.output).endswith(".pt"):
            raise ValueError(f"--output {self.output}: a weights file ends with .pt")
