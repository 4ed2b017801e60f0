"""Train a detector.

python train.py                                                                  # yolov5n-mgil on the embedded digits
python train.py --cfg yolov5n-mgil.yaml --data coco.yaml --img 640 --device 0    # COCO on a GPU
torchrun --nproc_per_node 4 train.py --data coco.yaml --batch-size 128 --device 0,1,2,3
"""

from __future__ import annotations

from engine.cli import Parser, batch_size, natural_int, positive_int, run_cli
from engine.hyp import OPTIMIZERS
from engine.precision import CHOICES as AMP_CHOICES
from engine.train import run_train
from engine.train_config import CACHE_CHOICES, MAY_CHANGE_ON_RESUME, TrainConfig, flag_of


def make_parser() -> Parser:
    """The flags, named as in YOLOv5."""
    parser = Parser("Train a detector.", defaults=TrainConfig)
    add = parser.add_argument
    add("--weights", help="initial weights, a .pt file (ours or YOLOv5's); without it training starts from scratch")
    add("--cfg", help="model, e.g. yolov5n-mgil.yaml; default: the weights' own, else yolov5n-mgil.yaml")
    add("--data", help="data set YAML, e.g. coco.yaml or one of your own")
    add("--hyp", help="recipe; default: hyp.lowres.yaml up to 320 px, hyp.scratch-low.yaml above")
    add(
        "--epochs",
        type=positive_int,
        help="passes over the data; default: what the data set suggests, else 100. "
        "Changed with --resume, the learning rates follow the new length from there on",
    )
    add("--batch-size", "--batch", type=batch_size,
        help="images per batch over all GPUs, -1 fills them; default: what the data set suggests, else 16")  # fmt: skip
    add("--imgsz", "--img", "--img-size", type=positive_int,
        help="longer side of the images in pixels; default: what the data set suggests, else 640")  # fmt: skip
    add("--rect", action="store_true", help="batches of like aspect ratio in rectangles, without mosaic")
    add("--resume", nargs="?", const="latest",
        help="go on with an interrupted run: its folder or last.pt, by default the newest in --project. "
        "The run keeps its options; only "
        f"{', '.join(flag_of(name) for name in MAY_CHANGE_ON_RESUME[1:])} may change")  # fmt: skip
    add("--nosave", action="store_true", help="keep only the last epoch's checkpoint")
    add("--noval", action="store_true", help="validate only after the last epoch")
    add("--noautoanchor", action="store_true", help="keep the model's anchors")
    add("--noplots", action="store_true", help="draw no pictures")
    add("--cache", nargs="?", const="ram", choices=CACHE_CHOICES,
        help="decoded images in memory: auto, if they fit; ram, always; none, decode in every epoch")  # fmt: skip
    add("--image-weights", action="store_true", help="draw images with rare and hard classes more often")
    add("--device", help="cpu, mps, a GPU number, or 0,1,... under torchrun; default: the first GPU, else the CPU")
    add("--multi-scale", action="store_true", help="another size for every batch, within 50 %% of --imgsz")
    add("--single-cls", action="store_true", help="treat all classes as one")
    add("--optimizer", choices=OPTIMIZERS, help="default: the recipe's, which is SGD in YOLOv5's own recipes")
    add("--sync-bn", action="store_true", help="share BatchNorm statistics between GPUs (under torchrun)")
    add("--workers", type=natural_int, help="decoding processes for images that are not kept in memory")
    add("--project", help="results go to project/name")
    add("--name", help="results go to project/name")
    add("--exist-ok", action="store_true", help="write into project/name even when it exists")
    add("--cos-lr", action="store_true", help="cosine decay of the learning rate")
    add("--label-smoothing", type=float, help="class targets become 1 - s/2 and s/2")
    add("--patience", type=natural_int, help="stop after so many epochs without improvement; 0 never stops")
    add("--freeze", type=natural_int, nargs="+", help="rows of the model not to train: n for the first n, or a list")
    add("--save-period", type=int, help="also keep a checkpoint every so many epochs")
    add("--seed", type=natural_int, help="seed of everything random")
    add("--amp", choices=AMP_CHOICES, help="mixed precision; auto: bfloat16 or float16 on a GPU, off on a CPU")
    add("--compile", action="store_true", help="run the model through torch.compile")
    add("--strict", action="store_true", help="a bad label or image ends the run")
    add("--download", action="store_true", help="fetch a missing data set from the URL in its YAML")
    parser.left_out("--evolve", why="search recipes with a tool made for it, such as Optuna, around this command")
    parser.left_out("--quad", why="the batched data path makes it unnecessary", nargs=0)
    parser.left_out("--bucket", "--upload_dataset", "--entity", "--bbox_interval", "--artifact_alias",
                    why="nothing is sent to other machines")  # fmt: skip
    parser.left_out("--local_rank", why="start several processes with torchrun, which sets it in the environment")
    return parser


def main() -> None:
    """Flags -> config -> one call."""
    settings = vars(make_parser().parse_args())
    if "freeze" in settings:
        settings["freeze"] = tuple(settings["freeze"])
    run_train(TrainConfig(**settings), given=settings)


if __name__ == "__main__":
    run_cli(main)
