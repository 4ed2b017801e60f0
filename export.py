"""Write weights in the formats of other runtimes: `python export.py --weights best.pt --include onnx openvino`."""

from __future__ import annotations

import argparse

from engine.cli import Parser, fraction, positive_int, run_cli
from engine.export import ExportConfig, run_export
from engine.export_formats import format_table


def build_parser() -> Parser:
    """YOLOv5's flags, with its defaults."""
    parser = Parser(__doc__ or "")
    parser.epilog = format_table()
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--weights", required=True, help="weights file (.pt); what is written goes beside it")
    add("--include", nargs="+", default=("torchscript",), help="formats, see the table below")
    add(
        "--data",
        help="data set YAML to check files on, and calibrate --int8 (its default: the one named in the weights)",
    )
    add(
        "--imgsz",
        "--img",
        "--img-size",
        nargs="+",
        type=positive_int,
        help="input size: a side, or height and width; the weights' training size where left out",
    )
    add("--batch-size", "--batch", type=positive_int, default=1, help="images in one run")
    add("--device", default="cpu", help="cpu, or a GPU's number, for torchscript, onnx and engine")
    add("--half", action="store_true", help="float16; input and output stay float32")
    add("--int8", action="store_true", help="8-bit whole numbers, calibrated on the data set (onnx, openvino)")
    add("--dynamic", action="store_true", help="batch, height and width are free")
    add("--simplify", action="store_true", help="tidy up the ONNX graph with onnxslim")
    add("--opset", type=int, help="version of ONNX's operators (default: 17)")
    add("--nms", action="store_true", help="non-maximum suppression inside the file")
    add("--agnostic-nms", action="store_true", help="the same, boxes of different classes suppress each other too")
    add("--topk-per-class", type=positive_int, help="--nms: most boxes of a class in an image (default: 100)")
    add("--topk-all", type=positive_int, help="--nms: most boxes in an image (default: 100)")
    add("--iou-thres", "--iou", type=fraction, help="--nms: boxes that overlap more are one object (default: 0.45)")
    add("--conf-thres", "--conf", type=fraction, help="--nms: lowest score that is kept (default: 0.25)")
    add("--workspace", type=float, help="engine: GiB for the building of it (default: all there is)")
    add("--verbose", action="store_true", help="the operators of the ONNX graph, TensorRT's log, tracebacks")
    parser.left_out("--keras", why="TensorFlow's formats are left to its own converters; use tflite", nargs=0)
    parser.left_out("--optimize", why="PyTorch's optimiser for phones is no longer maintained; use tflite", nargs=0)
    parser.left_out("--inplace", why="the network has no in-place operations to choose", nargs=0)
    parser.left_out("--train", why="exported files are for inference", nargs=0)
    parser.left_out("--per-tensor", why="--int8 has one scale a channel, which is more accurate", nargs=0)
    parser.left_out("--cache", why="engines are built without a timing cache")
    return parser


def parse_arguments(arguments: list[str] | None = None) -> ExportConfig:
    """Turn command-line flags (by default those of this process) into a config."""
    values = vars(build_parser().parse_args(arguments))
    values.update(include=tuple(values["include"]), imgsz=tuple(values["imgsz"] or ()))
    return ExportConfig(**values)


def main() -> None:
    """Export as the command line says."""
    run_export(parse_arguments())


if __name__ == "__main__":
    run_cli(main)
