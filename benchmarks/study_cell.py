"""One cell of a study, in a process of its own: train, evaluate the best weights, count what the model costs.

    python -m benchmarks.study_cell FOLDER     # which holds the job.json that benchmarks.study wrote

A training of this project that was interrupted goes on from its last.pt; a peer's starts anew.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.side_by_side import Worker
from benchmarks.study_class_cell import run_classes
from benchmarks.study_data import peer_copy
from benchmarks.study_pose_cell import run_pose, run_pose_peer
from benchmarks.study_training import (
    places_of,
    read_clock,
    read_curve,
    train_ours,
    train_peer,
    versions_of,
    where_it_runs,
)
from mgil.datasets.reading.config import DataConfig, load_data_config
from mgil.datasets.reading.load import load_samples
from mgil.datasets.reading.samples import Samples
from mgil.engine.devices import select_device
from mgil.engine.evaluation.evaluate import evaluate
from mgil.engine.weights.checkpoints import model_from_checkpoint
from mgil.files.atomic import write_text_atomic
from mgil.networks.profile import profile
from mgil.tasks.detect.batches import detect_eval_loader
from mgil.tasks.detect.coco import CocoAverages, coco_averages
from mgil.tasks.detect.judge import DetectJudge
from mgil.tasks.detect.matching import Detections
from mgil.tasks.detect.options import ValOptions
from mgil.tasks.detect.scores import DetectScores
from mgil.tasks.registry import DEFAULT_TASK

JOB, RESULT = "job.json", "result.json"
COST_SIZE = 640  # pixels; the size that published operations are for
EVALUATION = {"conf_thres": 0.001, "iou_thres": 0.6, "max_det": 300}  # everybody's detections
EVALUATION_BATCH = 32
PAD = 0.5  # strides; YOLOv5's padding, which the peers' own validation has, and the committed rows too


def run_cell(folder: Path) -> dict[str, Any]:
    """Do what the folder's job asks, write the result there, and return it."""
    job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    definition = job["definition"]
    ours, peer = RUNS[definition.get("task", DEFAULT_TASK)]
    measured = (peer if "peer" in definition["model"] else ours)(job, folder)
    versions = f"torch {torch.__version__}, numpy {np.__version__}"
    result = {
        "threads": job["threads"],
        "cells at once": job["at_once"],
        "machine": where_it_runs(select_device(job["device"])),
        "versions": versions,
        **measured,
    }
    write_text_atomic(folder / RESULT, json.dumps(result, indent=1))
    return result


def run_ours(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Train and measure a model of this project."""
    definition, device = job["definition"], select_device(job["device"])
    data = load_data_config(job["data_yaml"])
    run = train_ours(job, folder)
    weights = run / "weights" / "best.pt"
    samples = load_samples(data, "val", report=print)
    found = detect_ours(weights, samples, data, definition["size"], device, job["data_workers"])
    trained = model_from_checkpoint(weights, fuse=False)
    whole = profile(trained, (COST_SIZE, COST_SIZE))
    small = profile(trained, (definition["size"], definition["size"]))
    curve = read_curve(run / "results.csv")
    (run / "weights" / "last.pt").unlink(missing_ok=True)  # several times best.pt, and only resuming needs it
    return {
        **scored(coco_averages(samples, data.category_ids, found)),
        "epochs run": len(curve),
        "parameters": whole.parameters,
        "GFLOPs at 640": whole.gflops,
        "GFLOPs": small.gflops,
        "train seconds": read_clock(folder),
        "weights": str(weights.relative_to(folder)),
        "curve": curve,
    }


def detect_ours(
    weights: Path, samples: Samples, data: DataConfig, size: int, device: torch.device, workers: int
) -> Detections:
    """Detections of a model of this project on a split."""
    model = model_from_checkpoint(weights, device)
    loader = detect_eval_loader(
        samples,
        size,
        EVALUATION_BATCH,
        stride=model.max_stride,
        pad=PAD,
        workers=workers,
        ahead=device.type != "cpu",
    )
    judge = DetectJudge(model, samples, data, ValOptions(**EVALUATION))  # type: ignore[arg-type]
    scores = evaluate(model, loader, judge, device=device).scores
    assert isinstance(scores, DetectScores)
    return scores.detections


def run_peer(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Train a peer by its own code, and score its detections by ours."""
    definition = job["definition"]
    size, peer = definition["size"], definition["model"]["peer"]
    copy = peer_copy(Path(job["data_yaml"]), Path(job["peer_data"]))
    with Worker(peer, Path(job["peers"]), job["threads"], folder / "scratch") as worker:
        versions = worker.ask("info")
        places = places_of(job, copy)
        trained = train_peer(worker, job, folder, places)
        weights = trained["weights"]
        found = worker.ask(
            "detect",
            weights=weights,
            folder=str(folder),
            batch=1,
            **EVALUATION,
            **places,  # a rectangle for each image
        )
        cost = worker.ask("cost", weights=weights, sizes=[COST_SIZE, size])
    data = load_data_config(job["data_yaml"])
    samples = load_samples(data, "val", report=print)
    curve = read_curve(folder / "run" / "results.csv")
    return {
        **scored(coco_averages(samples, data.category_ids, read_detections(Path(found), samples))),
        "epochs run": len(curve),
        "parameters": cost["parameters"],
        "GFLOPs at 640": cost["gflops"][0],
        "GFLOPs": cost["gflops"][1],
        "train seconds": trained["seconds"],
        "weights": str(Path(weights).relative_to(folder)),
        "curve": curve,
        "versions": versions_of(versions),
    }


def read_detections(path: Path, samples: Samples) -> Detections:
    """A peer's detections: a json list of [place in the split, class, left, top, width, height, score]."""
    rows = np.array(json.loads(path.read_text(encoding="utf-8")), np.float64).reshape(-1, 7)
    images = rows[:, 0].astype(np.int64)
    if len(rows) and images.max() >= len(samples):
        raise ValueError(f"{path}: detections in image {images.max()} of {len(samples)}")
    boxes_xyxy = np.concatenate((rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]), axis=1)
    return Detections(images, boxes_xyxy, rows[:, 6], rows[:, 1].astype(np.int64))


def scored(averages: CocoAverages) -> dict[str, float]:
    """COCO's AP under the names of the csv."""
    return {
        "AP": averages.ap,
        "AP50": averages.ap50,
        "AP75": averages.ap75,
        "AP small": averages.ap_small,
        "AP medium": averages.ap_medium,
        "AP large": averages.ap_large,
    }


# By task: what trains and measures a model of this project, and a peer's.
RUNS = {
    DEFAULT_TASK: (run_ours, run_peer),
    "pose": (run_pose, run_pose_peer),
    "classify": (run_classes, run_classes),  # no peer is known
}


def leave_with_parent() -> None:
    """End this process, and the worker that it may have, when the study that started it is gone."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def main() -> None:
    """Run the cell whose folder is given."""
    if hasattr(os, "killpg"):
        threading.Thread(target=leave_with_parent, daemon=True).start()
    run_cell(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
