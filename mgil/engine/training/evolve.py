"""`train.py --evolve N`: search for a better recipe; Optuna chooses the values, each trial is a training of its own."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from mgil.datasets.reading.config import DataConfig
from mgil.engine.data_of_weights import load_data, may_be_data
from mgil.engine.distributed import world_size
from mgil.engine.runs import TRAIN_PROJECT, new_run_folder, oldest_first
from mgil.engine.training.config import TrainFlags, config_from_dict
from mgil.engine.training.log import read_results
from mgil.engine.training.resume import STUDY, given_names
from mgil.engine.training.run import run_train
from mgil.engine.training.setup import make_model, read_named_files, resolved, with_recipe
from mgil.engine.weights.checkpoints import load_checkpoint
from mgil.engine.weights.start import Start
from mgil.files.atomic import write_text_atomic
from mgil.files.csv_file import write_csv
from mgil.files.figures import new_figure, save_figure
from mgil.files.flags import flag_of
from mgil.files.packages import import_package
from mgil.files.recipe import Recipe, load_recipe
from mgil.files.text import Report
from mgil.tasks.base import Task
from mgil.tasks.registry import task_named

EVOLVE_PROJECT = "runs/evolve"
HYPS, TRIALS = "hyps", "trials"  # folders in a search's own
# How the trials run, and how many; not what they learn from and how.
MAY_CHANGE = ("evolve", "resume", "project", "device", "workers", "cache", "noplots")
# A process says every so many seconds that its trial lives; a trial that is silent for longer is done again.
HEARTBEAT_S, SILENCE_S = 10, 30
MOST_RETRIES = 3  # of one trial, e.g. of values with which the memory never suffices
SPOKEN_FOR = "spoken_for"  # numbers of the trials whose first sign of life was given for them
LOCKED_S = 120  # so long a process waits for another one that is writing
_COMPARED = "by which the trials are compared"


@dataclass(frozen=True)
class Search:
    """What all processes of a search share.

    Attributes:
        folder: Its own; the study, the table and the trials lie there.
        config: Of each trial, but for its recipe and its folder.
        base: The recipe that the search starts from.
        spans: Where values are looked for, by field of the recipe; in logarithms.
        study: Optuna's.
    """

    folder: Path
    config: TrainFlags
    base: Recipe
    spans: Mapping[str, tuple[float, float]]
    study: Any


def run_evolve(
    config: TrainFlags, report: Report = print, given: Collection[str] | None = None, program: str = "train.py"
) -> Path:
    """Train with N recipes, and keep the best.

    The first trial is the recipe itself. Everything known is in a database in the search's folder: `--resume FOLDER`
    goes on after an end of any kind, and several processes may work on one search at the same time.

    Args:
        config: Of a trial; `evolve` is the number of trials that the whole search shall have in the end.
        report: Gets the lines for people.
        given: Names of the options that the user gave; None: those that differ from their defaults.
        program: How the user calls it; for messages.

    Returns:
        The search's folder, with hyp_evolve.yaml, evolve.csv and, without --noplots, evolve.png.

    Raises:
        FileNotFoundError: Data, weights, model or recipe that are not there, or no search to go on with.
        ValueError: Options that do not fit together; Optuna is not installed.
        KeyboardInterrupt: Ctrl-C; it says how to go on.
    """
    if world_size() > 1:
        raise ValueError("--evolve: torchrun is for one training; start the same command several times with --resume")
    optuna = import_package("optuna")
    with _quiet(optuna):
        search = _resumed(config, given, optuna) if config.resume else _begun(config, optuna, report)
        wanted = config.evolve
        report(f"{len(search.spans)} values of the recipe are searched in {wanted} trials, into {search.folder}")
        try:
            while (done := _numbers(search.study, "COMPLETE")) < wanted:
                if done + _numbers(search.study, "RUNNING") >= wanted:  # other processes are at the last ones
                    time.sleep(1)
                    _fail_silent(search.study, optuna)
                    if not _numbers(search.study, "WAITING"):
                        continue
                search.study.optimize(lambda trial: _fitness_of(search, trial, wanted, optuna, report), n_trials=1)
                write_summary(search)  # for those who look in between
        except KeyboardInterrupt as stop:
            again = f"{program} --evolve {wanted} --resume {search.folder}"
            raise KeyboardInterrupt(f"go on with: {again}") from stop
        except (ValueError, OSError):
            if not config.resume and not (search.folder / TRIALS).exists():
                _take_back(search.folder)
            raise
        write_summary(search)
        if not search.config.noplots:
            plot_trials(search)
    best = search.study.best_trial
    report(f"best: trial {best.number + 1}, fitness {best.value:.4g}; train with --hyp {search.folder}/hyp_evolve.yaml")
    return search.folder


def _fail_silent(study: Any, optuna: Any) -> None:
    """Let trials that nobody works on any more be done again.

    Optuna looks at trials that said once that they live. One whose process was killed before gets that said for it.
    """
    since = datetime.now() - timedelta(seconds=SILENCE_S)
    running = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
    spoken_for = study.user_attrs.get(SPOKEN_FOR, [])
    for trial in running:
        if trial.datetime_start < since and trial.number not in spoken_for:
            spoken_for.append(trial.number)
            study.set_user_attr(SPOKEN_FOR, spoken_for)
            study._storage.record_heartbeat(trial._trial_id)
    optuna.storages.fail_stale_trials(study)


def _recipe(config: TrainFlags, task: Task, data: DataConfig, report: Report) -> Recipe:
    """The recipe that a training with these options would take."""
    own, start = resolved(config, data, task), Start()
    if not config.hyp and (checkpoint := read_named_files(config, task, report)):
        model, start = make_model(own, task, task.adapted(data, own).names, checkpoint, lambda _line: None)
        own = replace(own, imgsz=model.imgsz)
    return with_recipe(own, task, data, start, report)[1]


def _begun(config: TrainFlags, optuna: Any, report: Report) -> Search:
    """A new search in a folder of its own."""
    task = task_named(config.task)
    data = load_data(task, config.data)
    if not data.val:
        raise ValueError(f"--evolve: {data.yaml_path} gives no val split, {_COMPARED}; add 'val: <folder of images>'")
    base = _recipe(config, task, data, report)
    spans = base.spans()
    folder = new_run_folder(_project(config), config.name, config.exist_ok)
    if (folder / STUDY).exists():
        raise ValueError(f"{folder} holds a search already; go on with it: --resume {folder}, or take another --name")
    study = _study(folder, optuna, config.seed)
    config = _from_any_folder(config, task)
    study.set_user_attr("config", config.as_dict())
    study.set_user_attr("hyp", base.as_dict())
    study.enqueue_trial({name: getattr(base, name) for name in spans})
    return Search(folder, config, base, spans, study)


def _project(config: TrainFlags) -> str:
    return EVOLVE_PROJECT if config.project == TRAIN_PROJECT else config.project


def _take_back(folder: Path) -> None:
    """Remove a new search whose first training was refused before it wrote anything; its options cannot be mended."""
    with suppress(OSError):
        (folder / HYPS / "trial1.yaml").unlink()
        (folder / HYPS).rmdir()
        (folder / STUDY).unlink()
        folder.rmdir()  # unless there is more in it, which --exist-ok found


def _from_any_folder(config: TrainFlags, task: Task) -> TrainFlags:
    """The options with full paths of files, so that a search goes on from any working folder.

    A name that is no file here is that of a shipped one, whatever folder is called so.
    """
    files: dict[str, Any] = {
        name: path for name in ("cfg", "weights", "teacher") if os.path.isfile(path := getattr(config, name, ""))
    }
    if may_be_data(task, config.data):
        files["data"] = config.data
    return replace(config, **{name: os.path.abspath(path) for name, path in files.items()})


def _resumed(config: TrainFlags, given: Collection[str] | None, optuna: Any) -> Search:
    """The search that --resume names, with its own options."""
    folder = _find(config)
    study = _study(folder, optuna, config.seed)
    kept = study.user_attrs
    if not {"config", "hyp"} <= kept.keys():
        raise ValueError(f"--resume {folder}: its {STUDY} is not of a search of train.py")
    saved = config_from_dict(kept["config"])
    task = task_named(saved.task)
    asked = {name: getattr(_from_any_folder(config, task), name) for name in given_names(config, given)}
    for name, value in asked.items():
        if name not in MAY_CHANGE and getattr(saved, name, None) != value:
            own = getattr(saved, name, None)
            allowed = ", ".join(flag_of(item) for item in MAY_CHANGE if item not in ("resume", "project"))
            raise ValueError(f"{flag_of(name)} {value!r}: this search keeps its own {own!r}; only {allowed} may change")
    changed = {name: value for name, value in asked.items() if name in MAY_CHANGE and name != "project"}
    base = load_recipe(task.recipe, kept["hyp"])
    return Search(folder, replace(saved, **changed), base, base.spans(), study)


def _find(config: TrainFlags) -> Path:
    """The folder of the search that --resume means."""
    if config.resume == "latest":
        project = _project(config)
        found = oldest_first(project, STUDY)
        if not found:
            raise FileNotFoundError(f"--evolve --resume: there is no {STUDY} in {project}; name the search's folder")
        return found[-1].parent
    folder = Path(config.resume)
    folder = folder.parent if folder.name == STUDY else folder
    if not (folder / STUDY).is_file():
        raise FileNotFoundError(f"--evolve --resume {config.resume}: no search there; give the folder that has {STUDY}")
    return folder


def _study(folder: Path, optuna: Any, seed: int) -> Any:
    """Open the study of a folder, or make it."""
    from sqlalchemy.engine import URL
    from sqlalchemy.exc import DatabaseError

    path = folder / STUDY
    url = URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)
    try:
        storage = optuna.storages.RDBStorage(
            url,
            engine_kwargs={"connect_args": {"timeout": LOCKED_S}},
            heartbeat_interval=HEARTBEAT_S,
            grace_period=SILENCE_S,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(MOST_RETRIES),
        )
        study = optuna.create_study(study_name="evolve", storage=storage, direction="maximize", load_if_exists=True)
        # a search that goes on, and each of several processes, draws other values than those that were tried
        started = len(study.trials)
        study.sampler = optuna.samplers.TPESampler(seed=(seed + (started and started + os.getpid())) % 2**32)
    except (DatabaseError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: cannot be used as the database of a search ({error})") from error
    return study


def _numbers(study: Any, state: str) -> int:
    return sum(trial.state.name == state for trial in study.get_trials(deepcopy=False))


def _fitness_of(search: Search, trial: Any, wanted: int, optuna: Any, report: Report) -> float:
    """One trial: its values, a training with them, the best epoch's fitness."""
    earlier = [other.state.name for other in search.study.get_trials(deepcopy=False) if other.number < trial.number]
    if earlier.count("COMPLETE") + earlier.count("RUNNING") >= wanted:
        raise optuna.TrialPruned("other processes do the last trials")
    values = {name: trial.suggest_float(name, *span, log=True) for name, span in search.spans.items()}
    recipe = load_recipe(type(search.base), search.base.as_dict() | values)
    name = f"trial{trial.number + 1}"
    hyp = search.folder / HYPS / f"{name}.yaml"
    hyp.parent.mkdir(exist_ok=True)
    write_text_atomic(hyp, yaml.safe_dump(recipe.as_dict(), sort_keys=False))
    own: dict[str, Any] = {"hyp": str(hyp), "project": str(search.folder / TRIALS), "name": name, "exist_ok": False}
    config = replace(search.config, evolve=0, resume="", nosave=True, noplots=True, save_period=-1, **own)
    report(f"{name} of {wanted}")
    try:
        folder = run_train(config, report)
    except FloatingPointError as error:  # which is a bad recipe, and worth knowing
        report(f"{name}: {error}; its fitness counts as 0")
        return 0.0
    except BaseException:  # Ctrl-C too; not the fault of the values, so a search that goes on takes them first
        with suppress(optuna.exceptions.StorageInternalError):  # e.g. the disk is full, which is said already
            search.study.enqueue_trial(values)
        raise
    last = folder / "weights" / "last.pt"
    progress = load_checkpoint(last).training["progress"]
    last.unlink()  # N networks that nobody asked for
    if progress["best_fitness"] < 0:  # --noval trains without it
        raise ValueError(f"--evolve: {config.data} has no images in val, {_COMPARED}; mend its 'val'")
    trial.set_user_attr("metrics", _row(folder / "results.csv", progress["best_epoch"]))
    return float(progress["best_fitness"])


def _row(path: Path, epoch: int) -> dict[str, float]:
    """An epoch's metrics in a results.csv."""
    row = next(row for row in read_results(path) if int(row["epoch"]) == epoch)
    return {key: float(value) for key, value in row.items() if key.startswith("metrics/") and value}


def write_summary(search: Search) -> None:
    """Write what is known so far: evolve.csv and hyp_evolve.yaml."""
    trials = _complete(search)
    if not trials:
        return
    best = search.study.best_trial
    metrics = task_named(search.config.task).metrics
    rows = [
        [trial.number + 1, trial.value]
        + [trial.user_attrs.get("metrics", {}).get(column, "") for column in metrics]
        + [trial.params[name] for name in search.spans]
        for trial in trials
    ]
    write_csv(search.folder / "evolve.csv", ["trial", "fitness", *metrics, *search.spans], rows)
    recipe = load_recipe(type(search.base), search.base.as_dict() | best.params)
    said = f"# The best of {len(trials)} trials: trial {best.number + 1}, fitness {best.value:.6g}\n"
    write_text_atomic(search.folder / "hyp_evolve.yaml", said + yaml.safe_dump(recipe.as_dict(), sort_keys=False))


def _complete(search: Search) -> list[Any]:
    return [trial for trial in search.study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]


def plot_trials(search: Search) -> None:
    """Draw the fitness over each value (evolve.png); the best trial is marked."""
    trials, best = _complete(search), search.study.best_trial
    columns = 5
    rows = -(-len(search.spans) // columns)
    figure, axes = new_figure(2.6 * columns, 2.3 * rows, rows=rows, columns=columns, dpi=100)
    flat: Iterator[Any] = iter(axes.flat)
    for name in search.spans:
        axis = next(flat)
        axis.scatter([trial.params[name] for trial in trials], [trial.value for trial in trials], s=12, alpha=0.6)
        axis.scatter([best.params[name]], [best.value], marker="+", s=90, color="tab:red")
        axis.set(title=f"{name} = {best.params[name]:.3g}", ylabel="fitness")
        axis.grid(alpha=0.3)
    for axis in flat:
        axis.set_axis_off()
    save_figure(figure, search.folder / "evolve.png")


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Keep Optuna's own lines, and its warnings that its heartbeat is new, from the user for the time of the block."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
