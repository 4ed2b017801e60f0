"""Evaluate weights on a data set: COCO AP, precision, recall, F1, confusion matrix, speed.

python val.py --weights runs/train/exp/weights/best.pt --data digits.yaml --imgsz 64 96 160 320
"""

from __future__ import annotations

from engine.cli import Parser, fraction, natural_int, positive_int, run_cli
from engine.val import TASKS, ValConfig, run_val


def make_parser() -> Parser:
    """The flags, named as in YOLOv5."""
    parser = Parser("Evaluate weights on a data set.")
    add = parser.add_argument
    add("--data", help="data set YAML; default: the one the weights were trained on, else digits.yaml")
    add("--weights", nargs="+", required=True, help="a .pt or exported file, or several whose predictions are pooled")
    add("--batch-size", "--batch", type=positive_int, default=32, help="images per batch")
    add(
        "--imgsz",
        "--img",
        "--img-size",
        type=positive_int,
        nargs="+",
        help="input size; several give a table, csv and plot; default: the weights' training size",
    )
    add("--conf-thres", "--conf", type=fraction, default=0.001, help="lowest score that counts")
    add("--iou-thres", "--iou", type=fraction, default=0.6, help="NMS overlap")
    add("--max-det", type=positive_int, default=300, help="boxes per image")
    add("--task", default="val", choices=TASKS, help="split to use; speed: times only; study: several sizes")
    add("--device", default="", help="cpu, mps, or a GPU number; default: the first GPU, else the CPU")
    add("--workers", type=natural_int, default=8, help="processes that load images")
    add("--single-cls", action="store_true", help="treat all classes as one")
    add("--augment", action="store_true", help="test-time augmentation: three sizes, one mirrored")
    add("--verbose", action="store_true", help="list every class, also when more than 20 have labels")
    add("--save-txt", action="store_true", help="write labels/*.txt")
    add("--save-conf", action="store_true", help="scores in the label files too")
    add("--save-json", action="store_true", help="write COCO results, and score them by pycocotools")
    add("--project", default="runs/val", help="results go to project/name")
    add("--name", default="exp", help="results go to project/name")
    add("--exist-ok", action="store_true", help="write into project/name even when it exists")
    add("--half", action="store_true", help="float16, on CUDA")
    add("--strict", action="store_true", help="a bad label or image is an error")
    add("--download", action="store_true", help="fetch the data set as its YAML says, when it is not there")
    parser.left_out("--dnn", why="ONNX files are run by ONNX Runtime", nargs=0)
    parser.left_out(
        "--save-hybrid", why="labels beside detections are no result; --save-txt writes what was found", nargs=0
    )
    return parser


def main() -> None:
    """Flags -> config -> one call."""
    settings = vars(make_parser().parse_args())
    settings.update(weights=tuple(settings["weights"]), imgsz=tuple(settings["imgsz"] or ()))
    run_val(ValConfig(**settings))


if __name__ == "__main__":
    run_cli(main)
