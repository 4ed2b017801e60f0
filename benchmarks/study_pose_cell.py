"""A cell of a study of pose: its people found by the trained network, scored by OKS AP and PCK.

A network of this project looks at crops around the labelled boxes, and at their mirror images. A peer finds people in
whole pictures by itself; its results are scored as those in a detector's boxes are, without PCK, which asks for one
result to each labelled person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.side_by_side import Worker
from benchmarks.study_pose_data import load_people, people_copy, read_poses
from benchmarks.study_training import facts_of, places_of, read_curve, train_ours, train_peer, versions_of
from mgil.datasets.reading.config import load_data_config
from mgil.engine.devices import select_device
from mgil.engine.evaluation.evaluate import evaluate
from mgil.engine.weights.checkpoints import model_from_checkpoint
from mgil.tasks.base import Loading
from mgil.tasks.pose.oks import OksAverages, SizeBin, oks_averages, size_bins
from mgil.tasks.pose.options import ValOptions
from mgil.tasks.pose.people import People
from mgil.tasks.pose.reading.skeleton import as_key_points
from mgil.tasks.pose.scores import PoseScores
from mgil.tasks.pose.task import TASK

EVALUATION_BATCH = 32
PEERS_EVALUATION = {"conf_thres": 0.001, "iou_thres": 0.7, "max_det": 300}  # its own


def run_pose(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Train and measure a model of this project."""
    definition, device = job["definition"], select_device(job["device"])
    run = train_ours(job, folder)
    weights = run / "weights" / "best.pt"
    people = load_people(Path(job["data_yaml"]), "val")
    scores = poses_of_ours(weights, people, Path(job["data_yaml"]), definition["size"], device, job["data_workers"])
    return {
        **scored(scores.labelled.oks, scores.labelled.bins),
        "PCK": scores.pck.mean,
        "PCK kind": scores.pck.name,
        **facts_of(run, folder, definition["size"]),
    }


def poses_of_ours(
    weights: Path, people: People, data_yaml: Path, size: int, device: torch.device, workers: int
) -> PoseScores:
    """What val.py finds by its defaults in crops around the labelled boxes."""
    model = model_from_checkpoint(weights, device)
    options = ValOptions()
    loading = Loading(EVALUATION_BATCH, workers=workers, ahead=device.type != "cpu")
    loader = TASK.eval_loader(people, size, model, options, loading)
    judge = TASK.judge(model, people, as_key_points(load_data_config(data_yaml)), options)
    scores = evaluate(model, loader, judge, device=device).scores
    assert isinstance(scores, PoseScores)
    return scores


def run_pose_peer(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Train a peer by its own code, and score its people by ours."""
    definition, data_yaml = job["definition"], Path(job["data_yaml"])
    places = places_of(job, people_copy(data_yaml, Path(job["peer_data"])))
    with Worker(definition["model"]["peer"], Path(job["peers"]), job["threads"], folder / "scratch") as worker:
        versions = worker.ask("info")
        trained = train_peer(worker, job, folder, places)
        weights = trained["weights"]
        found = worker.ask("find_people", weights=weights, folder=str(folder), batch=1, **PEERS_EVALUATION, **places)
        cost = worker.ask("cost", weights=weights, sizes=[definition["size"]])
    people, poses = read_poses(Path(found), load_people(data_yaml, "val"))
    curve = read_curve(folder / "run" / "results.csv")
    return {
        **scored(oks_averages(people, poses), size_bins(people, poses)),
        "epochs run": len(curve),
        "parameters": cost["parameters"],
        "MFLOPs": 1000 * cost["gflops"][0],
        "train seconds": trained["seconds"],
        "weights": str(Path(weights).relative_to(folder)),
        "curve": curve,
        "versions": versions_of(versions),
    }


def scored(oks: OksAverages, bins: Sequence[SizeBin]) -> dict[str, float]:
    """OKS AP under the names of the csv."""
    sizes = {f"AP {part.label}": part.ap for part in bins}
    return {"AP": oks.ap, "AP50": oks.ap50, "AP75": oks.ap75, "AR": oks.ar, **sizes}
