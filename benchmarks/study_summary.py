"""What the rows of a study come to: means and deviations over seeds, differences and their intervals, as text too."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats

from benchmarks.study_table import Row
from mgil.files.atomic import write_text_atomic

CONFIDENCE = 0.95
Group = tuple[str, int, str]  # data set, size, split
GROUP = ("model", "data", "size", "split")  # what the rows of a line share


@dataclass(frozen=True)
class Form:
    """What a report has of one kind of study.

    Attributes:
        score: the column that the study is about.
        scores: columns beside it, whose mean over seeds is taken.
        facts: columns that all seeds share.
        costs: columns whose mean is taken, after these.
        plotted: costs that the score is drawn against.
        introduction: makes the text above the tables from all rows and all lines.
        markdown: makes a table from the lines of a data set and size, and that size.
        remarks: makes what stands below a table from its lines and all rows.
    """

    score: str
    scores: tuple[str, ...]
    facts: tuple[str, ...]
    costs: tuple[str, ...]
    plotted: tuple[str, ...]
    introduction: Callable[[Sequence[Row], Sequence[Row]], list[str]]
    markdown: Callable[[Sequence[Row], int], list[str]]
    remarks: Callable[[Sequence[Row], Sequence[Row]], list[str]]


@dataclass(frozen=True)
class Difference:
    """How far a model's mean score lies above the baseline's.

    Attributes:
        mean: in units of the score, 0..1.
        interval: at 95 %; None where either has one seed only.
    """

    mean: float
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        if self.interval is None:
            return f"{self.mean:+.4f}"
        return f"{self.mean:+.4f} [{self.interval[0]:+.4f}, {self.interval[1]:+.4f}]"


def difference(values: Sequence[float], baseline: Sequence[float]) -> Difference:
    """Compare the scores of a model's seeds, at least one, with that of the baseline's."""
    mean = statistics.fmean(values) - statistics.fmean(baseline)
    if len(values) < 2 or len(baseline) < 2:
        return Difference(mean)
    if len(set(values)) == len(set(baseline)) == 1:
        return Difference(mean, (mean, mean))  # scipy divides by the spread
    interval = stats.ttest_ind(values, baseline, equal_var=False).confidence_interval(CONFIDENCE)
    return Difference(mean, (float(interval.low), float(interval.high)))


def summarise(rows: Sequence[Row], form: Form) -> dict[Group, list[Row]]:
    """A line for each model of each data set, size and split, in the csv's order."""
    groups: dict[Group, dict[str, list[Row]]] = {}
    for row in rows:
        if row[form.score] is not None and not math.isnan(row[form.score]):
            group = groups.setdefault((row["data"], row["size"], row["split"]), {})
            group.setdefault(row["model"], []).append(row)
    return {group: [summary_line(name, models, group, form) for name in models] for group, models in groups.items()}


def summary_line(name: str, models: Mapping[str, list[Row]], group: Group, form: Form) -> Row:
    """Mean and standard deviation over seeds, and what the model costs."""
    rows = models[name]
    values = [row[form.score] for row in rows]
    baseline = rows[0]["baseline"]
    line: Row = dict(zip(("data", "size", "split"), group, strict=True))
    line |= {"model": name, "seeds": len(values), form.score: statistics.fmean(values)}
    line["standard deviation"] = statistics.stdev(values) if len(values) > 1 else None
    for column in form.scores:
        line[column] = mean_of(row[column] for row in rows)
    line |= {"minus baseline": None, "low": None, "high": None}
    if name != baseline and baseline in models:
        found = difference(values, [row[form.score] for row in models[baseline]])
        low, high = found.interval or (None, None)
        line |= {"minus baseline": found.mean, "low": low, "high": high}
    for column in form.facts:
        line[column] = rows[0][column]
    for column in form.costs:
        line[column] = mean_of(row.get(column) for row in rows)
    return line


def mean_of(values: Iterable[float | None]) -> float | None:
    """Mean of the numbers that are there."""
    found = [value for value in values if value is not None and not math.isnan(value)]
    return statistics.fmean(found) if found else None


def write_csv(path: Path, lines: Sequence[Row]) -> None:
    """The table with all its columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in line.items()}
                     for line in lines)  # fmt: skip
    write_text_atomic(path, text.getvalue())


def heading(group: Group) -> str:
    """For people."""
    data, size, split = group
    return f"{data}, {size} px" + ("" if split == "val" else f", {split} split")


def distinct(rows: Sequence[Row], column: str) -> str:
    """The different values of a column, as one text."""
    return "; ".join(dict.fromkeys(str(row[column]) for row in rows if row.get(column)))


def mixed_seeds(rows: Sequence[Row]) -> list[str]:
    """A warning of lines whose seeds were trained for other lengths."""
    mixed = sorted({row["model"] for row in rows for other in rows
                    if all(row[key] == other[key] for key in GROUP)
                    and any(row[key] != other[key] for key in ("epochs", "batch"))})  # fmt: skip
    return [f"**Seeds of different epochs or batch sizes stand together** for {', '.join(mixed)}."] if mixed else []


def over_seeds(lines: Sequence[Row]) -> str:
    """What stands behind a mean where there are several seeds."""
    return ", mean ± sample standard deviation over seeds" if _several(lines) else ""


def about_difference(rows: Sequence[Row], lines: Sequence[Row]) -> list[str]:
    """A sentence on the column of differences, where there are any."""
    if all(line["minus baseline"] is None for line in lines):
        return []
    interval = ", with Welch's 95 % interval" if _several(lines) else ""
    return [f"The difference is to {distinct(rows, 'baseline')}{interval}."]


def about_training(rows: Sequence[Row]) -> list[str]:
    """On the minutes and the seeds."""
    minutes = "Minutes are wall time, on a machine that may have been doing other work: no measure of speed."
    return [minutes] * bool(distinct(rows, "train seconds")) + mixed_seeds(rows)


def where_trained(rows: Sequence[Row]) -> str:
    """Machines and versions."""
    return f"Trained on: {distinct(rows, 'machine')}; {distinct(rows, 'versions')}."


def _several(lines: Sequence[Row]) -> bool:
    return any(line["seeds"] > 1 for line in lines)


def table_of_texts(cells: Sequence[Mapping[str, str]]) -> list[str]:
    """A table in markdown; columns that are empty throughout are left out."""
    header = [name for name in cells[0] if any(row[name] for row in cells)]
    rule = ["---"] * len(header)
    return [f"| {' | '.join(row)} |" for row in (header, rule, *([line[name] for name in header] for line in cells))]


def spread(deviation: float | None) -> str:
    """A standard deviation behind a mean; nothing with one seed."""
    return "" if deviation is None else f" ± {deviation:.4f}"


def difference_text(line: Mapping[str, Any]) -> str:
    """A difference with its interval, as far as there is one."""
    if line["minus baseline"] is None:
        return ""
    interval = None if line["low"] is None else (line["low"], line["high"])
    return str(Difference(line["minus baseline"], interval))


def number(value: float | None, form: str, factor: float = 1.0) -> str:
    """A value that may be missing."""
    return "" if value is None else form.format(value * factor)


def at_equal_operations(lines: Sequence[Row], rows: Sequence[Row], score: str) -> list[str]:
    """Models against those that were given as many operations in another way; nothing where there are none."""
    found = []
    by_name = {line["model"]: line for line in lines}
    for line in lines:
        other = by_name.get(line["operations of"])
        if other is not None:
            values = [
                [row[score] for row in rows if row[score] is not None and all(row[key] == one[key] for key in GROUP)]
                for one in (other, line)
            ]
            costs = f"{number(other['MFLOPs'], '{:.1f}')} and {number(line['MFLOPs'], '{:.1f}')} MFLOPs"
            found.append(f"{other['model']} minus {line['model']}: {difference(*values)}, at {costs}.")
    return ["At equal operations:", "", *(f"- {text}" for text in found), ""] if found else []
