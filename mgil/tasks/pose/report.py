"""An evaluation of pose in words and numbers: the console's tables, and csv files."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from mgil.files.csv_file import write_csv
from mgil.tasks.pose.oks import OksAverages

if TYPE_CHECKING:
    from mgil.tasks.pose.scores import BoxScores, PoseScores

FINAL_TABLE = "per_joint.csv"
TABLES = ("oks.csv", "per_size.csv", FINAL_TABLE)
_NAME_WIDTH = 22
_SHOWN = ("ap", "ap50", "ap75", "ap_medium", "ap_large", "ar")


def result_lines(scores: PoseScores, *, input_size: int, verbose: bool) -> list[str]:
    """The whole report of one evaluation; the row of the boxes that people are used with comes last."""
    kinds = _kinds(scores)
    lines = [line for kind in kinds for line in _size_lines(kind)]
    lines.append(pck_line(scores))
    if scores.network_px not in (None, input_size):
        lines.append(f"crops of {input_size} px were resized to the network's own {scores.network_px} px")
    if verbose:
        lines += joint_lines(scores)
    titles = ("Images", "People", "AP", "AP50", "AP75", "AP_M", "AP_L", "AR")
    lines.append(f"{f'OKS at {input_size} px':>{_NAME_WIDTH}}" + "".join(f"{title:>9}" for title in titles))
    for kind in kinds:
        values = "".join(f"{getattr(kind.oks, name):>9.3f}" for name in _SHOWN)
        lines.append(f"{kind.boxes:>{_NAME_WIDTH}}{scores.images:>9}{scores.instances:>9}{values}")
    return lines


def _kinds(scores: PoseScores) -> list[BoxScores]:
    return [scores.labelled, *([scores.detected] if scores.detected else [])]


def _size_lines(kind: BoxScores) -> list[str]:
    parts = [f"{part.label} {part.ap:.3f} ({part.people})" for part in kind.bins if part.people]
    if not parts:
        return []
    return [f"OKS AP by person size, longer side of the box in the file, {kind.boxes} (people): {', '.join(parts)}"]


def pck_line(scores: PoseScores) -> str:
    """PCK by what joints are, left and right together, and its mean."""
    pck = scores.pck
    if math.isnan(pck.mean):
        return f"{pck.name} (distances by {pck.unit}): no joint that it could be taken of"
    parts = [f"{name} {100 * value:.1f}" for name, value in pck.groups]
    return f"{pck.name} (distances by {pck.unit}), %: {', '.join(parts)}; mean {100 * pck.mean:.1f}"


def joint_lines(scores: PoseScores) -> list[str]:
    """A row for each joint."""
    pck = scores.pck
    rows = zip(scores.people.skeleton.names, pck.counts.tolist(), pck.by_key_point.tolist(), strict=True)
    lines = [f"{'Joint':>{_NAME_WIDTH}}{'Labels':>9}{pck.name:>11}"]
    for name, count, value in rows:
        shown = name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 1] + "…"
        lines.append(f"{shown:>{_NAME_WIDTH}}{count:>9}{value:>11.3f}")
    return lines


def write_tables(scores: PoseScores, folder: Path) -> None:
    """oks.csv: COCO's ten numbers by kind of boxes; per_size.csv: AP by size of people; then per_joint.csv: PCK."""
    kinds, names = _kinds(scores), [item.name for item in fields(OksAverages)]
    oks = [[kind.boxes, *(getattr(kind.oks, name) for name in names)] for kind in kinds]
    write_csv(folder / "oks.csv", ("boxes", *names), oks)
    sizes = [[kind.boxes, part.low_px, part.high_px, part.people, part.ap] for kind in kinds for part in kind.bins]
    write_csv(folder / "per_size.csv", ("boxes", "low_px", "high_px", "people", "ap"), sizes)
    pck = scores.pck
    rows = zip(scores.people.skeleton.names, pck.counts.tolist(), pck.by_key_point.tolist(), strict=True)
    write_csv(folder / FINAL_TABLE, ("joint", "labels", pck.name), [list(row) for row in rows])
