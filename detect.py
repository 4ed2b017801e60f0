"""Find objects in pictures, videos and streams: `python detect.py --weights best.pt --source folder/`."""

from __future__ import annotations

from engine.cli import Parser, fraction, positive_int, run_cli
from engine.predict import EXAMPLES, DetectConfig, run_detect


def build_parser() -> Parser:
    """YOLOv5's flags, with its defaults."""
    parser = Parser(__doc__ or "")
    add = parser.add_argument
    add(
        "--weights",
        nargs="+",
        help="weights (.pt) or an exported model (default: the newest best.pt in runs/train)",
    )
    add(
        "--source",
        default=str(EXAMPLES),
        help="picture, video, folder, glob, .txt list, webcam number, rtsp/http URL, .streams list, "
        "or 'screen [number] [left top width height]'",
    )
    add("--data", help="data set YAML whose class names replace those in the weights")
    add("--imgsz", "--img", "--img-size", nargs="+", type=positive_int, help="input size: a side, or height and width")
    add("--conf-thres", "--conf", type=fraction, default=0.25, help="lowest score that is kept")
    add("--iou-thres", "--iou", type=fraction, default=0.45, help="boxes of a class that overlap more are one object")
    add("--max-det", type=positive_int, default=1000, help="most detections per image")
    add("--device", default="", help="cpu, mps or a GPU's number; the first GPU, else the CPU, where left out")
    add("--view-img", action="store_true", help="show the pictures in a window; q or Esc ends")
    add("--save-txt", action="store_true", help="write labels/*.txt")
    add("--save-csv", action="store_true", help="write predictions.csv")
    add("--save-conf", action="store_true", help="add scores to the labels of --save-txt")
    add("--save-crop", action="store_true", help="write what was found to crops/")
    add("--nosave", action="store_true", help="write no annotated pictures and videos")
    add("--classes", nargs="+", type=int, help="keep only these class indices: --classes 0 2 3")
    add("--agnostic-nms", action="store_true", help="boxes of different classes suppress each other too")
    add("--augment", action="store_true", help="look at three sizes, once mirrored")
    add("--visualize", action="store_true", help="write pictures of every layer's feature maps")
    add("--project", default="runs/detect", help="results go to project/name")
    add("--name", default="exp", help="results go to project/name")
    add("--exist-ok", action="store_true", help="use project/name even when it exists")
    add("--line-thickness", type=positive_int, default=3, help="of boxes, in pixels of the drawn picture")
    add("--hide-labels", action="store_true", help="boxes without text")
    add("--hide-conf", action="store_true", help="text without scores")
    add("--half", action="store_true", help="float16 arithmetic (CUDA only)")
    add("--vid-stride", type=positive_int, default=1, help="take every n-th frame of videos and streams")
    parser.left_out("--update", why="checkpoints of train.py hold nothing that would need to be stripped", nargs=0)
    parser.left_out("--dnn", why="ONNX files are run by ONNX Runtime", nargs=0)
    parser.left_out("--save-format", why="label files have YOLO's format, class x y w h in 0..1")
    return parser


def parse_arguments(arguments: list[str] | None = None) -> DetectConfig:
    """Turn command-line flags (by default those of this process) into a config."""
    values = vars(build_parser().parse_args(arguments))
    weights = values.pop("weights") or [None]
    if len(weights) > 1:
        raise ValueError(f"--weights {' '.join(weights)}: ensembles are not available, give one file")
    for name in ("imgsz", "classes"):
        values[name] = tuple(values[name]) if values[name] else None
    return DetectConfig(weights=weights[0], **values)


def main() -> None:
    """Detect as the command line says."""
    run_detect(parse_arguments())


if __name__ == "__main__":
    run_cli(main)
