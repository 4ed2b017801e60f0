"""How well objects keep their numbers, and what following costs, on generated clips whose truth is known.

    python -m benchmarks.tracking
    python -m benchmarks.tracking --weights best.pt   # a detector of red, green and blue squares

Without weights the detections are the truth with errors: each edge is off by 6 % of the object, 5 % of the objects are
missed, scores are noisy and fall where an object is half hidden, every tenth frame has something that is none. Each row
is the sum over all seeds. "default" is what detect.py --track does, "original" ultralytics' own settings, in which
boxes are compared as they are and their overlap is multiplied with the score.

Frames per second are those of decoded frames through yolov5n (random weights, but the same detections for all), one
thread, by the CPU time of the process, with and without following.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.identity import Identity, count_identity
from benchmarks.moving import NAMES, SCENES, SEEN, Clip, detections, make_clip
from benchmarks.side_by_side import Row, show
from mgil.engine.cli import run_cli
from mgil.engine.prediction.config import TRACKERS
from mgil.engine.prediction.load import load_model
from mgil.engine.prediction.trackers import Association
from mgil.engine.prediction.tracking import Tracker
from mgil.files.flags import natural_int, positive_int
from mgil.networks.detector import build_model
from mgil.tasks.abilities import FollowingPredictor
from mgil.tasks.detect.options import PredictOptions
from mgil.tasks.detect.predictor import Detector
from mgil.tasks.detect.results import Results

OUTPUT = Path("runs/tracking")
ASSOCIATIONS = {"default": Association(), "original": Association(fuse=True, margin=0.0)}
SPEEDS = (0.1, 0.2, 0.4, 0.6)  # of the object's size, a frame
SIDES = {64: 10.0, 160: 16.0}  # of the object, by the size of the picture, pixels


def truth(clip: Clip) -> list[tuple[np.ndarray, np.ndarray]]:
    """For `count_identity`: what is visible in each frame."""
    return [(boxes[seen], np.flatnonzero(seen)) for boxes, seen in zip(clip.boxes, clip.visible >= SEEN, strict=True)]


def found(clip: Clip, seed: int, predictor: FollowingPredictor | None = None) -> Iterator[Results]:
    """Detections of each frame: those of a network, or the truth with errors."""
    for image, (boxes, scores, classes) in zip(clip.images(), detections(clip, seed=seed), strict=True):
        if predictor is None:
            yield Results(boxes, scores, classes, NAMES, image)
        else:
            yield from predictor.candidates([image], [""])  # type: ignore[misc]  # a detector's are `Results`


def numbered(tracker: Tracker, results: Iterator[Results]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For `count_identity`: what the tracker makes of the results."""
    followed: Any = [tracker.follow(result) for result in results]
    return [(result.boxes_xyxy, result.track_ids) for result in followed]


def identities(size: int, seeds: Sequence[int], predictor: FollowingPredictor, simulated: bool) -> Iterator[Row]:
    """A row for each scene, speed, tracker and setting."""
    side = SIDES.get(size, size / 8)
    for scene in SCENES:
        for speed in SPEEDS:
            clips = [make_clip(scene, size, side, speed * side, seed=seed) for seed in seeds]
            for kind in TRACKERS:
                for name, association in ASSOCIATIONS.items():
                    counts = [
                        count_identity(
                            truth(clip),
                            numbered(
                                Tracker(predictor, kind, association=association),
                                found(clip, seed, None if simulated else predictor),
                            ),
                        )
                        for clip, seed in zip(clips, seeds, strict=True)
                    ]
                    what = {"scene": scene, "pixels": size, "sizes a frame": speed, "tracker": kind, "settings": name}
                    yield {**what, "objects": sum(len(clip.classes) for clip in clips), **_sums(counts)}


def _sums(counts: Sequence[Identity]) -> Row:
    boxes = sum(count.objects for count in counts)
    shares = [sum(getattr(count, name) * count.objects for count in counts) / boxes for name in ("idf1", "mota")]
    names = {"numbers": "tracks", "switches": "switches", "fragments": "fragments"}
    sums = {shown: sum(getattr(count, name) for count in counts) for shown, name in names.items()}
    return {**sums, "boxes": boxes, "IDF1": round(shares[0], 3), "MOTA": round(shares[1], 3)}


def speed(size: int, predictor: FollowingPredictor) -> Row:
    """Frames a second of CPU time, without following and with each tracker in turn; the median of five rounds."""
    side = SIDES.get(size, size / 8)
    clip = make_clip("apart", size, side, 0.2 * side, frames=60)
    images, results = list(clip.images()), list(found(clip, 0))
    spent: dict[str, list[float]] = {}
    for _ in range(5):
        for kind in ("none", *TRACKERS):
            tracker = None if kind == "none" else Tracker(predictor, kind)
            start = time.process_time()
            for image, result in zip(images, results, strict=True):
                if tracker is None:
                    predictor([image], [""])
                else:
                    predictor.candidates([image], [""])
                    tracker.follow(result)
            spent.setdefault(kind, []).append(time.process_time() - start)
    rates = {f"frames/s, {kind}": round(len(images) / float(np.median(times))) for kind, times in spent.items()}
    return {"pixels": size, "boxes a frame": round(float(np.mean([len(result) for result in results])), 1), **rates}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=positive_int, nargs="+", default=list(SIDES), help="of the pictures")
    parser.add_argument("--seeds", type=natural_int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--weights", help="a detector, in place of the truth with errors")
    parser.add_argument("--out", type=Path, default=OUTPUT, help="folder for tracking.csv and speed.csv")
    options = parser.parse_args(arguments)
    run_cli(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    model = build_model("yolov5n.yaml", names=NAMES, imgsz=max(options.sizes)).eval()
    rows: list[Row] = []
    rates: list[Row] = []
    for size in options.sizes:
        plain = Detector(model, PredictOptions(), device=torch.device("cpu"), size_hw=(-(-size // 32) * 32,) * 2)
        own = load_model(options.weights, device="cpu", imgsz=size).predictor if options.weights else plain
        rows += identities(size, options.seeds, own, simulated=not options.weights)  # type: ignore[arg-type]
        rates.append(speed(size, plain))
    detector = options.weights or "the truth with errors"
    show(f"numbers of objects, detections by {detector}", rows, options.out / "tracking.csv")
    show("speed", rates, options.out / "speed.csv")


if __name__ == "__main__":
    main()
