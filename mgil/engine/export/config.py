"""What `export.py` can be told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from mgil.engine.input_size import check_input_size
from mgil.files.flags import Refused, check_fields, flag, positive_int, real, refused, whole
from mgil.files.limits import MOST_SIDE
from mgil.tasks.registry import with_options

DEFAULT_OPSET = 17


@dataclass(frozen=True)
class ExportFlags:
    """One run of export.py; the fields are its flags, YOLOv5's names. None: not given.

    Raises:
        ValueError: A value that cannot be right; the flag is named.
    """

    weights: str = flag(help="weights file (.pt); what is written goes beside it")
    include: tuple[str, ...] = flag(("torchscript",), nargs="+", help="formats, see the table below")
    data: str | None = flag(
        None, help="data set YAML to check files on, and calibrate --int8 (its default: the one named in the weights)"
    )
    imgsz: tuple[int, ...] = flag(
        (),
        kind=whole(1, MOST_SIDE),
        nargs="+",
        most=2,
        together="a side, or height and width",
        aliases=("--img", "--img-size"),
        help="input size: a side, or height and width; default: the weights' training size",
    )
    batch_size: int = flag(1, kind=whole(1, MOST_SIDE), aliases=("--batch",), help="images in one run")
    device: str = flag("cpu", help="cpu, or a GPU's number, for torchscript, onnx and engine")
    half: bool = flag(False, help="float16, for OpenVINO bfloat16 on CPUs that have it; input and output stay float32")
    int8: bool = flag(False, help="8-bit whole numbers, calibrated on the data set (onnx, openvino)")
    dynamic: bool = flag(False, help="batch, height and width are free; the batch alone where a network takes one size")
    simplify: bool = flag(False, help="tidy up the ONNX graph with onnxslim")
    opset: int | None = flag(None, kind=positive_int, help=f"version of ONNX's operators (default: {DEFAULT_OPSET})")
    workspace: float | None = flag(
        None,
        kind=real("a number above 0 (GiB)", lambda value: 0 < value < math.inf),
        help="engine: GiB for the building of it (default: all there is)",
    )
    verbose: bool = flag(False, help="the operators of the ONNX graph, TensorRT's log, tracebacks")
    download: bool = flag(False, help="fetch YOLOv5's weights by their name, when they are missing")

    refuses: ClassVar[tuple[Refused, ...]] = (
        refused("--keras", why="TensorFlow's formats are left to its own converters; use tflite", nargs=0),
        refused("--optimize", why="PyTorch's optimiser for phones is no longer maintained; use tflite", nargs=0),
        refused("--inplace", why="the network has no in-place operations to choose", nargs=0),
        refused("--train", why="exported files are for inference", nargs=0),
        refused("--per-tensor", why="--int8 has one scale a channel, which is more accurate", nargs=0),
        refused("--cache", why="engines are built without a timing cache"),
    )

    def __post_init__(self) -> None:
        check_fields(self)
        check_input_size(self.imgsz)
        if self.half and self.int8:
            raise ValueError("--half and --int8 are two number types; give one of them")

    def given(self) -> dict[str, str]:
        """What was asked for that not every format can do, as `formats` calls it, and the flag of each."""
        inside_flag: str = getattr(self, "inside_flag", "")  # of a task's options
        flags = {
            "half": self.half,
            "int8": self.int8,
            "dynamic": self.dynamic,
            "inside": bool(inside_flag),
            "device": self.device.strip().lower() != "cpu",
            "simplify": self.simplify,
            "opset": self.opset is not None,
            "workspace": self.workspace is not None,
        }
        return {name: inside_flag if name == "inside" else f"--{name}" for name, is_on in flags.items() if is_on}


def export_config() -> type[ExportFlags]:
    """The config class with the flags of every task: which one is meant, the weights say."""
    return with_options(ExportFlags, "export")


ExportConfig = export_config()  # of the tasks that come with the project, for use from Python
