"""Going on with an interrupted run: which checkpoint is meant, what may change, and whether anything is left to do."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from mgil.engine.data_of_weights import gone, may_be_data, place_of_data
from mgil.engine.input_size import round_up
from mgil.engine.runs import TRAIN_PROJECT, oldest_first, written_at
from mgil.engine.training.config import MAY_CHANGE_ON_RESUME, TrainFlags, config_from_dict, frozen_rows
from mgil.engine.training.progress import START_EPOCH, Progress
from mgil.engine.weights.checkpoints import Checkpoint, load_checkpoint
from mgil.files.flags import flag_of
from mgil.files.recipe import load_recipe
from mgil.files.text import Report
from mgil.tasks.registry import DEFAULT_TASK, task_named

STUDY = "study.db"  # in a search's folder
TRAINING_KEYS = {"config", "hyp", "progress", "trainer", "image_weights"}
# What a change does to a run that would else be, bit by bit, the one that was never interrupted.
CONSEQUENCES = {
    "epochs": "the learning rates follow the schedule of that length from here on, not from the start",
    "cache": "where images are kept decides which partners a mosaic can have",
    "noval": "the best epoch and --patience see other epochs",
    "device": "another device rounds otherwise",
}


def checkpoint_to_resume(config: TrainFlags) -> Checkpoint:
    """Read the checkpoint that `--resume` means.

    Raises:
        FileNotFoundError: As `find_resume`; where weights were given too, it says how to resume them.
        ValueError: It cannot be used.
    """
    try:
        return load_checkpoint(find_resume(config.resume, config.project))
    except FileNotFoundError as error:
        if config.resume == "latest" and config.weights:
            raise FileNotFoundError(_resume_itself(config.weights)) from error
        raise


def _resume_itself(weights: str) -> str:
    return (
        f"--weights {weights} --resume: --resume alone means the newest run, which did not begin with these weights; "
        f"give the file to --resume itself: --resume {weights}"
    )


def find_resume(given: str, project: str = TRAIN_PROJECT) -> Path:
    """The checkpoint that `--resume` means.

    Args:
        given: The file itself, a run's folder, or "latest": that of the run in `project` which was begun, resumed or
            saved last.
        project: Parent folder of the runs.

    Raises:
        FileNotFoundError: There is none, or the newest run was ended before its first one.
    """
    if given != "latest":
        path = Path(given)
        if path.is_dir():
            if (path / STUDY).exists():
                raise FileNotFoundError(f"--resume {given}: a search of recipes, not a run; give --evolve N with it")
            path = path / "last.pt" if (path / "last.pt").exists() else path / "weights" / "last.pt"
            if not path.exists():
                is_run = (Path(given) / "opt.yaml").exists()
                why = _too_early(path) if is_run else "not a run's folder, which holds opt.yaml and weights/"
                raise FileNotFoundError(f"--resume {given}: {why}")
        if not path.exists():
            raise FileNotFoundError(f"--resume {given}: no such checkpoint; give a run's folder or its last.pt")
        return path
    found, begun = oldest_first(project, "weights/last.pt"), oldest_first(project, "opt.yaml")
    if begun and (not found or written_at(begun[-1]) > written_at(found[-1])):
        newest = begun[-1].parent / "weights" / "last.pt"
        if newest.exists():  # perhaps older than another run's: a resumed run writes opt.yaml first
            return newest
        hint = f", or name an older run: --resume {found[-1].parents[1]}" if found else ""
        raise FileNotFoundError(f"--resume: the newest run is {begun[-1].parent}: {_too_early(newest)}{hint}")
    if not found:
        raise FileNotFoundError(
            f"--resume: there is no last.pt in {project}; name the run's folder (--resume FOLDER), or its --project"
        )
    return found[-1]


def _too_early(path: Path) -> str:
    return f"no {path.parent.name}/{path.name}, it ended before its first checkpoint; start it anew without --resume"


def resumed_config(
    config: TrainFlags,
    checkpoint: Checkpoint,
    given: Collection[str] | None = None,
    report: Report = lambda _line: None,
) -> TrainFlags:
    """The interrupted run's options, with those changes that a resumed run may have.

    Args:
        config: What the user asks for now.
        checkpoint: The interrupted run's last.pt.
        given: Names of the options that the user gave; None: those that differ from their defaults.
        report: Told of changes after which the run is not the uninterrupted one any more.

    Raises:
        ValueError: A checkpoint made for inference, a run that is complete, or changes that would make it another
            run; the flags are named.
    """
    if not checkpoint.training.keys() >= TRAINING_KEYS:
        raise ValueError(f"--resume {checkpoint.path}: made for inference, not for resuming; give the run's last.pt")
    with sound_state(checkpoint):
        saved = config_from_dict(checkpoint.training["config"])
    if config.task not in (saved.task, DEFAULT_TASK):
        raise ValueError(f"--resume {checkpoint.path}: its task is {saved.task}, not {config.task}")
    asked = {name: getattr(config, name) for name in given_names(config, given)}
    foreign = [flag_of(name) for name in asked if not hasattr(saved, name)]
    if foreign:
        raise ValueError(f"--resume {checkpoint.path}: its task is {saved.task}, which has no {', '.join(foreign)}")
    changed = [name for name, value in asked.items() if not _is_own(name, value, saved, checkpoint)]
    data = _data_of(checkpoint, saved)
    if not data and "data" not in changed:
        raise FileNotFoundError(f"--resume: {gone(str(checkpoint.info.get('data') or saved.data), checkpoint.path)}")
    may_change = (*MAY_CHANGE_ON_RESUME[1:], *getattr(saved, "may_change_on_resume", ()))
    refused = [name for name in changed if name not in ("resume", *may_change)]
    if "weights" in refused and config.resume == "latest":
        raise ValueError(_resume_itself(config.weights))
    if refused:
        kept = "; ".join(f"{flag_of(name)} {asked[name]!r}: a resumed run keeps its own {getattr(saved, name)!r}"
                         for name in refused)  # fmt: skip
        raise ValueError(f"{kept}; only {', '.join(map(flag_of, may_change))} may change")
    merged = replace(saved, **{name: asked[name] for name in changed})
    _check_unfinished(checkpoint, merged)
    for name in changed:
        if name in CONSEQUENCES:
            report(f"{flag_of(name)} {asked[name]} instead of {getattr(saved, name)}: {CONSEQUENCES[name]}")
    # its full path, so that the run goes on from any folder
    place = place_of_data(task_named(saved.task), merged.data if "data" in changed else data)
    return replace(merged, data=str(place))


def _data_of(checkpoint: Checkpoint, saved: TrainFlags) -> str:
    """The path of the run's data set; empty where that is gone."""
    task, data = task_named(saved.task), checkpoint.info.get("data", "")
    if isinstance(data, str) and may_be_data(task, data):
        return data
    try:
        return str(place_of_data(task, saved.data))
    except FileNotFoundError:
        return ""


def given_names(config: TrainFlags, given: Collection[str] | None) -> list[str]:
    """The options that the user gave; None: those that differ from their defaults."""
    default = type(config)()
    names = [item.name for item in fields(config)]
    if given is None:
        return [name for name in names if getattr(config, name) != getattr(default, name)]
    return [name for name in names if name in given]


def _is_own(name: str, value: Any, saved: TrainFlags, checkpoint: Checkpoint) -> bool:
    """Whether a value is what the run has, in whatever words."""
    own = getattr(saved, name)
    if value == own:
        return True
    if name == "imgsz":
        model = task_named(saved.task).build(checkpoint.architecture, checkpoint.names, checkpoint.imgsz)
        return round_up(value, model.max_stride) == own
    if name == "amp":
        return value == "auto"  # the run goes on with what that was then
    if name == "batch_size":
        return value == -1  # the run goes on with the number that was found then
    if name == "cfg":
        return not own and not saved.weights and value == task_named(saved.task).default_cfg
    if name == "optimizer":
        return not own and value == checkpoint.training["hyp"]["optimizer"]
    if name == "hyp":
        kind, own_values = task_named(saved.task).recipe, checkpoint.training["hyp"]
        return load_recipe(kind, value) == load_recipe(kind, own_values)  # which may be older than some of today's keys
    if name == "data":
        return str(place_of_data(task_named(saved.task), value)) == checkpoint.info.get("data")
    if name == "freeze":
        return frozen_rows(value) == frozen_rows(saved.freeze)
    if name in ("weights", "project", "teacher"):
        return bool(value and own) and Path(value).resolve() == Path(own).resolve()
    return False


@contextmanager
def sound_state(checkpoint: Checkpoint) -> Iterator[None]:
    """Turn what a damaged or hostile training state causes in the block into one error that names the file."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        cause = f"{type(error).__name__}: {error}"
        raise ValueError(f"--resume {checkpoint.path}: its training state does not fit here ({cause})") from error


def read_progress(checkpoint: Checkpoint) -> Progress:
    """Where the interrupted run stood."""
    with sound_state(checkpoint):
        progress = Progress(**checkpoint.training["progress"])
        for item in fields(Progress):
            value = getattr(progress, item.name)
            kinds, least = ((int,), 0) if item.type == "int" else ((int, float), -1)
            least = START_EPOCH if item.name == "best_epoch" else least
            if type(value) not in kinds or not value >= least:
                raise ValueError(f"{item.name} is {value!r}")
    return progress


def patience_is_over(progress: Progress, config: TrainFlags) -> bool:
    """Whether early stopping ends a run that stands there."""
    measured = progress.best_fitness >= 0 and not config.noval
    return measured and 0 < config.patience <= progress.epoch - 1 - progress.best_epoch


def _check_unfinished(checkpoint: Checkpoint, config: TrainFlags) -> None:
    """Refuse a run with nothing left to do, before any data is read; its final evaluation counts."""
    table = checkpoint.path.resolve().parents[1] / task_named(config.task).final_table
    scored = table.exists() and written_at(table) >= written_at(checkpoint.path)  # older: of another run in the folder
    with sound_state(checkpoint):
        has_val = checkpoint.training.get("content", {}).get("val", {}) is not None
    if has_val and not scored:
        return
    progress = read_progress(checkpoint)
    if progress.epoch >= config.epochs:
        more = f"--epochs {progress.epoch + 1} or more goes on"
        raise ValueError(f"--resume {checkpoint.path}: {progress.epoch} epochs are done; {more}")
    if patience_is_over(progress, config):
        raise ValueError(
            f"--resume {checkpoint.path}: stopped after {config.patience} epochs without a better fitness; "
            "go on with a larger --patience, or 0"
        )
