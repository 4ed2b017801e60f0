"""The files that a training writes into its folder, and which of those that lie there already are not a run's."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import yaml

from mgil.engine.runs import set_aside
from mgil.engine.training.config import TrainFlags, config_from_dict
from mgil.files.text import Report
from mgil.files.written_files import WrittenFiles
from mgil.tasks.base import Split, Task

PICTURED_BATCHES = 3
_PICTURES = (".jpg", ".png")


def own_files(
    folder: Path, config: TrainFlags, task: Task, val: Split | None, resuming: bool, report: Report, closing: ExitStack
) -> WrittenFiles:
    """Make sure that a training overwrites only what earlier runs wrote; earlier weights get other names.

    Args:
        folder: The run's.
        config: The run's options.
        task: What is trained.
        val: The split that the run is judged on, if any.
        resuming: The folder is that of the run that is resumed, and so are its files.
        report: Gets the new names of the weights.
        closing: Notes the files as written.

    Raises:
        ValueError: Another file is in the way. Nothing was changed then.
    """
    written = WrittenFiles(folder)
    closing.callback(written.close)
    paths = [folder / name for name in _names(config, task, val)]
    earlier = resuming or (not written.lists(folder / "opt.yaml") and _is_run_without_list(folder, task))
    if not earlier:
        written.check(*paths)
    (folder / "weights").mkdir(exist_ok=True)
    if earlier:
        written.finish(*paths)
    closing.enter_context(written.writing(*paths))
    if not resuming and (kept := set_aside(folder / "weights")):
        report(f"--exist-ok: the earlier run's weights are now {', '.join(kept)}")
    return written


def _names(config: TrainFlags, task: Task, val: Split | None) -> list[str]:
    """Paths in the run's folder of all but the weights."""
    names = ["opt.yaml", "hyp.yaml", "results.csv", "results.png", "labels.jpg"]
    names += [f"train_batch{index}.jpg" for index in range(PICTURED_BATCHES)]
    names += task.outputs(val, config, "best") if val is not None else []
    return [name for name in names if not (config.noplots and name.endswith(_PICTURES))]


def _is_run_without_list(folder: Path, task: Task) -> bool:
    """Whether a folder is a run's of a version that did not list its files: it has our options and our table."""
    try:
        config_from_dict(yaml.safe_load((folder / "opt.yaml").read_text(encoding="utf-8")))
        with (folder / "results.csv").open(encoding="utf-8") as file:
            columns = {name.strip() for name in file.readline(10_000).split(",")}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, yaml.YAMLError):
        return False
    return columns >= {"epoch", *task.metrics, "x/lr0"}
