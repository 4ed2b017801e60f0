"""Run folders: exp, exp2, exp3, ..., and which run is meant where none is named."""

from __future__ import annotations

import os
from pathlib import Path

MOST_RUNS = 10_000
TRAIN_PROJECT = "runs/train"  # where train.py puts its runs, and where the newest one is looked for


def new_run_folder(project: str | Path, name: str, exist_ok: bool = False) -> Path:
    """Make the folder of a run: project/name, or name2, name3, ... where that exists.

    Args:
        project: Parent folder, made where missing.
        name: Wanted name.
        exist_ok: Use project/name even when it exists.

    Raises:
        OSError: The folder cannot be made or written to.
    """
    project = Path(project)
    for number in range(1, MOST_RUNS):
        folder = project / (name if number == 1 else f"{name}{number}")
        try:
            # mkdir either makes the folder or fails: two runs started at once never share one
            folder.mkdir(parents=True, exist_ok=exist_ok)
        except FileExistsError:
            if exist_ok:  # a file of that name is in the way
                raise
            continue
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "cannot write into this folder", str(folder))
        return folder
    raise FileExistsError(f"{project / name}: {MOST_RUNS} runs already; choose another --name")


def oldest_first(project: str | Path, file: str) -> list[Path]:
    """A file of every run in a project's folder that has it, the one that was written last at the end.

    Args:
        project: Parent folder of the runs; they may lie deeper, as `--name a/b` puts them.
        file: Its place in a run's folder, e.g. "weights/last.pt".
    """
    return sorted(Path(project).glob(f"**/{file}"), key=written_at)


def written_at(path: Path) -> int:
    """When a file was last written, in nanoseconds."""
    return path.stat().st_mtime_ns


def set_aside(weights: Path) -> list[str]:
    """Rename the weights that an earlier run left in a folder, so that they are not taken for a new run's.

    Those of runs before that are kept too: a name that is taken gets a number.

    Returns:
        Their new names.
    """
    kept = []
    for path in (weights / "last.pt", weights / "best.pt", *sorted(weights.glob("epoch*.pt"))):
        if path.exists():
            stem = f"previous_{path.stem}"
            between = "_" if stem[-1].isdigit() else ""  # epoch1 and a 2 would read epoch12
            names = (f"{stem}.pt", *(f"{stem}{between}{number}.pt" for number in range(2, MOST_RUNS)))
            kept.append(next(name for name in names if not os.path.lexists(weights / name)))
            os.rename(path, weights / kept[-1])
    return kept
