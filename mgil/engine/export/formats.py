"""The formats that export.py writes, in one table: what each is called, needs and can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mgil.files.names import hint_for

# Flags that change what every file is: each chosen format must be able to do them. `inside` is what a task puts behind
# the network, see `mgil.tasks.base.Inside`.
EVERY = ("half", "int8", "dynamic", "inside", "device")
# Flags about a step that only some formats have: one of the chosen formats must have it.
SOME = ("simplify", "opset", "workspace")


@dataclass(frozen=True)
class Format:
    """One row of the table.

    Attributes:
        name: What people call it.
        argument: What --include calls it, as in YOLOv5.
        suffix: What follows the weights' stem in the name of the file or folder.
        converter: What writes it.
        packages: What pip must have installed, for writing it and for checking what was written.
        options: The flags of `EVERY` and `SOME` that it takes.
        tested: What the project's own tests do: `yes`, write it and run it; `written`, run by nobody yet; `no`.
    """

    name: str
    argument: str
    suffix: str
    converter: str
    packages: tuple[str, ...]
    options: tuple[str, ...]
    tested: str


_ONNX = ("dynamic", "inside", "simplify", "opset")
FORMATS: dict[str, Format] = {
    row.argument: row
    for row in (
        Format(
            "TorchScript", "torchscript", ".torchscript", "torch.jit.trace",
            (), ("half", "dynamic", "inside", "device"), "yes",
        ),
        Format(
            "ONNX", "onnx", ".onnx", "torch.onnx",
            ("onnx", "onnxruntime"), ("half", "int8", "device", *_ONNX), "yes",
        ),
        Format(
            "OpenVINO", "openvino", "_openvino_model", "openvino, from ONNX",
            ("onnx", "openvino"), ("half", "int8", *_ONNX), "yes",
        ),
        Format(
            "TensorRT", "engine", ".engine", "tensorrt, from ONNX",
            ("onnx", "tensorrt"), ("half", "device", "workspace", *_ONNX), "no",
        ),
        Format(
            "CoreML", "coreml", ".mlpackage", "coremltools, from TorchScript",
            ("coremltools",), ("half",), "written",
        ),
        Format("TFLite", "tflite", ".tflite", "litert-torch", ("litert-torch",), (), "no"),
        Format("ncnn", "ncnn", "_ncnn_model", "pnnx, from TorchScript", ("pnnx", "ncnn"), ("half",), "yes"),
    )
}  # fmt: skip

NOT_HERE = {
    "saved_model": "TensorFlow's own formats are left to its converters; use tflite, or onnx",
    "pb": "TensorFlow's own formats are left to its converters; use tflite, or onnx",
    "edgetpu": "the Edge TPU compiler takes INT8 TFLite files alone; write tflite and quantise it there",
    "tfjs": "browsers run ONNX files with onnxruntime-web; use onnx",
    "paddle": "its converter is no longer maintained; use onnx, which Paddle Lite and FastDeploy read",
}


def check_formats(arguments: tuple[str, ...]) -> tuple[Format, ...]:
    """The rows of --include, each once, in the given order.

    Raises:
        ValueError: none, or one that is not there.
    """
    if not arguments:
        raise ValueError(f"--include names no format; choose from {', '.join(FORMATS)}")
    for argument in arguments:
        if argument in NOT_HERE:
            raise ValueError(f"--include {argument} is not available: {NOT_HERE[argument]}")
        if argument not in FORMATS:
            hint = hint_for(argument, FORMATS, quoted=False) or f"choose from {', '.join(FORMATS)}"
            raise ValueError(f"--include {argument}: no such format; {hint}")
    return tuple(FORMATS[argument] for argument in dict.fromkeys(arguments))


def check_options(formats: tuple[Format, ...], given: Mapping[str, str]) -> None:
    """Refuse flags that a chosen format cannot follow.

    Args:
        formats: the chosen rows.
        given: what of `EVERY` and `SOME` was asked for, and the flag of each.

    Raises:
        ValueError: the first flag that makes no sense.
    """
    for option in (option for option in EVERY if option in given):
        unable = [row.argument for row in formats if option not in row.options]
        if unable:
            able = [row.argument for row in FORMATS.values() if option in row.options]
            raise ValueError(f"{given[option]} is not available for {', '.join(unable)}, only for {', '.join(able)}")
    for option in (option for option in SOME if option in given):
        if not any(option in row.options for row in formats):
            able = [row.argument for row in FORMATS.values() if option in row.options]
            chosen = ", ".join(row.argument for row in formats)
            raise ValueError(f"{given[option]} means nothing to {chosen}, only to {', '.join(able)}")


def format_table() -> str:
    """The table as text, for --help."""
    head = ("format", "--include", "file", "written by", "pip install", "tested")
    rows = [
        (
            row.name,
            row.argument,
            f"best{row.suffix}{'/' if row.suffix.endswith('_model') else ''}",
            row.converter,
            " ".join(row.packages) or "-",
            row.tested,
        )
        for row in FORMATS.values()
    ]
    widths = [max(len(line[column]) for line in (head, *rows)) for column in range(len(head))]
    lines = (head, tuple("-" * width for width in widths), *rows)
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)
