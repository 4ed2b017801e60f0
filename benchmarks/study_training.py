"""The training of a cell, whatever its task: from scratch or from weights, or from where it was interrupted."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.side_by_side import Worker, machine
from benchmarks.study_plan import OWN_SETTINGS
from mgil.engine.devices import select_device
from mgil.engine.training.config import train_config
from mgil.engine.training.log import read_results
from mgil.engine.training.progress import START_EPOCH
from mgil.engine.training.run import run_train
from mgil.engine.weights.checkpoints import load_checkpoint, model_from_checkpoint
from mgil.files.atomic import write_text_atomic
from mgil.networks.profile import profile
from mgil.tasks.registry import DEFAULT_TASK

# In the results.csv of ours and yolov5, of ultralytics; of poses, which it has beside those of boxes, first.
SCORES = (
    "metrics/accuracy_top1",
    "metrics/OKS_AP",
    "metrics/mAP50-95(P)",
    "metrics/mAP_0.5:0.95",
    "metrics/mAP50-95(B)",
)


def where_it_runs(device: torch.device) -> str:
    """The machine, and its GPU where that is used."""
    return f"{torch.cuda.get_device_name(device)}, {machine()}" if device.type == "cuda" else machine()


def train_ours(job: Mapping[str, Any], folder: Path) -> Path:
    """Train from scratch or from weights, or go on where an interrupted training stopped; the run's folder."""
    definition = job["definition"]
    run = folder / "run"
    last = run / "weights" / "last.pt"
    write_text_atomic(folder / "model.yaml", yaml.safe_dump(definition["model"], sort_keys=False))
    write_text_atomic(folder / "recipe.yaml", yaml.safe_dump(definition["recipe"], sort_keys=False))
    options = {"device": job["device"], "workers": job["data_workers"], "noplots": True}
    config_class = train_config(definition.get("task", DEFAULT_TASK))
    if last.exists():
        if is_over(last):
            return run
        config = config_class(resume=str(last), **options)
    else:
        (folder / "clock.json").unlink(missing_ok=True)
        own = {name: definition[name] for name in OWN_SETTINGS.get(config_class.task, ()) if name in definition}
        if job.get("teacher"):
            own["teacher"] = job["teacher"]  # where it is; the definition says which it is
        config = config_class(
            cfg=str(folder / "model.yaml"),
            weights=job["weights"],
            data=job["data_yaml"],
            hyp=str(folder / "recipe.yaml"),
            epochs=definition["epochs"],
            batch_size=definition["batch"],
            imgsz=definition["size"],
            patience=definition["patience"],
            seed=definition["seed"],
            # tables hold rows of several machines, of which some would take bfloat16
            amp="off" if select_device(job["device"]).type == "cpu" else "auto",
            project=str(folder),
            name=run.name,
            exist_ok=True,
            **own,
            **options,
        )
    before, started = read_clock(folder), time.perf_counter()

    def report(line: str) -> None:
        print(line, flush=True)
        write_text_atomic(folder / "clock.json", json.dumps(before + time.perf_counter() - started))

    return run_train(config, report=report)


def facts_of(run: Path, folder: Path, size: int) -> dict[str, Any]:
    """What a finished run of a network with a host says beside its scores: costs at the cell's size, and its curve.

    last.pt goes: it is several times best.pt, and only resuming needs it.
    """
    weights = run / "weights" / "best.pt"
    cost = profile(model_from_checkpoint(weights, fuse=False), (size, size))
    curve = read_curve(run / "results.csv")
    (run / "weights" / "last.pt").unlink(missing_ok=True)
    return {
        "epochs run": len(curve),
        "parameters": cost.parameters,
        "MFLOPs": 1000 * cost.gflops,
        "train seconds": read_clock(folder),
        "weights": str(weights.relative_to(folder)),
        "curve": curve,
    }


def is_over(last: Path) -> bool:
    """Whether a training was interrupted after its last epoch only: there is nothing to go on with."""
    training = load_checkpoint(last).training
    progress, config = training["progress"], training["config"]
    waited = progress["epoch"] - 1 - progress["best_epoch"]
    return progress["epoch"] >= config["epochs"] or 0 < config["patience"] <= waited


def read_clock(folder: Path) -> float:
    """Seconds that the training took so far, over all its interruptions."""
    path = folder / "clock.json"
    return float(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else 0.0


def places_of(job: Mapping[str, Any], copy: Path) -> dict[str, Any]:
    """What a peer is told in every request."""
    size = job["definition"]["size"]
    return {"data": str(copy), "size": size, "device": job["device"], "workers": job["data_workers"]}


def train_peer(worker: Worker, job: Mapping[str, Any], folder: Path, places: Mapping[str, Any]) -> dict[str, Any]:
    """Have a peer train from scratch, always anew: seconds and best weights."""
    definition = job["definition"]
    shutil.rmtree(folder / "run", ignore_errors=True)
    settings = {key: definition[key] for key in ("epochs", "batch", "patience", "seed", "recipe")}
    name = definition["model"]["model"]
    trained: dict[str, Any] = worker.ask(
        "train", model=name, folder=str(folder), threads=job["threads"], **settings, **places
    )
    return trained


def versions_of(info: Mapping[str, str]) -> str:
    """Of a peer, as its worker says."""
    return f"{info['name']} {info['version']}, torch {info['torch']}"


def read_curve(path: Path) -> list[float]:
    """The score after each epoch, as the project's own validation says."""
    rows = read_results(path)
    column = next(name for name in SCORES if name in rows[0])
    return [float(row[column]) for row in rows if int(row["epoch"]) != START_EPOCH]
