"""The table and the plots of a study, made from its csv alone.

The interval of a difference to the baseline is Welch's at 95 % for two independent means: an equal seed does not make
two architectures start alike. It says how far chance in the training goes; the images of the validation set are the
same for all. One seed has no interval.
"""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats

from benchmarks.study_latency import COLUMNS as LATENCY_COLUMNS
from benchmarks.study_models import PEERS
from benchmarks.study_plots import draw_plots
from benchmarks.study_table import Row, read_rows
from mgil.files.atomic import write_text_atomic

CONFIDENCE = 0.95
Group = tuple[str, int, str]  # data set, size, split
GROUP = ("model", "data", "size", "split")  # what the rows of a line share


@dataclass(frozen=True)
class Difference:
    """How far a model's mean AP lies above the baseline's.

    Attributes:
        mean: in AP, 0..1.
        interval: at 95 %; None where either has one seed only.
    """

    mean: float
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        if self.interval is None:
            return f"{self.mean:+.4f}"
        return f"{self.mean:+.4f} [{self.interval[0]:+.4f}, {self.interval[1]:+.4f}]"


def difference(values: Sequence[float], baseline: Sequence[float]) -> Difference:
    """Compare the AP of a model's seeds, at least one, with that of the baseline's."""
    mean = statistics.fmean(values) - statistics.fmean(baseline)
    if len(values) < 2 or len(baseline) < 2:
        return Difference(mean)
    if len(set(values)) == len(set(baseline)) == 1:
        return Difference(mean, (mean, mean))  # scipy divides by the spread
    interval = stats.ttest_ind(values, baseline, equal_var=False).confidence_interval(CONFIDENCE)
    return Difference(mean, (float(interval.low), float(interval.high)))


def summarise(rows: Sequence[Row]) -> dict[Group, list[Row]]:
    """A line for each model of each data set, size and split, in the csv's order."""
    groups: dict[Group, dict[str, list[Row]]] = {}
    for row in rows:
        if row["AP"] is not None and not math.isnan(row["AP"]):
            group = groups.setdefault((row["data"], row["size"], row["split"]), {})
            group.setdefault(row["model"], []).append(row)
    return {group: [summary_line(name, models, group) for name in models] for group, models in groups.items()}


def summary_line(name: str, models: Mapping[str, list[Row]], group: Group) -> Row:
    """Mean and standard deviation over seeds, and what the model costs."""
    rows = models[name]
    values = [row["AP"] for row in rows]
    baseline = rows[0]["baseline"]
    line: Row = dict(zip(("data", "size", "split"), group, strict=True))
    line |= {"model": name, "seeds": len(values), "AP": statistics.fmean(values)}
    line["standard deviation"] = statistics.stdev(values) if len(values) > 1 else None
    for column in ("AP50", "AP75", "AP small"):
        line[column] = mean_of(row[column] for row in rows)
    line |= {"minus baseline": None, "low": None, "high": None}
    if name != baseline and baseline in models:
        found = difference(values, [row["AP"] for row in models[baseline]])
        low, high = found.interval or (None, None)
        line |= {"minus baseline": found.mean, "low": low, "high": high}
    for column in ("parameters", "GFLOPs at 640", "GFLOPs"):
        line[column] = rows[0][column]
    for column in (*LATENCY_COLUMNS, "train seconds", "epochs run"):
        line[column] = mean_of(row.get(column) for row in rows)
    return line


def mean_of(values: Iterable[float | None]) -> float | None:
    """Mean of the numbers that are there."""
    found = [value for value in values if value is not None and not math.isnan(value)]
    return statistics.fmean(found) if found else None


def write_report(table: Path, folder: Path) -> None:
    """Write NAME.md, NAME_table.csv and the plots for the csv NAME.csv.

    Args:
        table: written by benchmarks.study.
        folder: where the report goes.

    Raises:
        FileNotFoundError: no such csv.
        ValueError: no finished cell in it.
    """
    if not table.is_file():
        raise FileNotFoundError(f"{table} does not exist: no cell of the study is finished yet")
    rows = read_rows(table)
    groups = summarise(rows)
    if not groups:
        raise ValueError(f"{table}: no cell is finished yet")
    folder.mkdir(parents=True, exist_ok=True)
    plots = draw_plots(rows, groups, folder, table.stem)
    lines = [
        f"# Study {rows[0]['study']}",
        "",
        *introduction(rows, [line for models in groups.values() for line in models]),
        "",
    ]
    for group, models in groups.items():
        lines += [f"## {heading(group)}", "", *markdown(models, group[1]), ""]
    lines += [text for title, name in plots for text in (f"![{title}]({name})", "")]
    write_text_atomic(folder / f"{table.stem}.md", "\n".join(lines))
    table_csv = folder / f"{table.stem}_table.csv"
    write_csv(table_csv, [line for models in groups.values() for line in models])
    for group, models in groups.items():
        print("\n".join(["", heading(group), *markdown(models, group[1])]))
    names = ", ".join([f"{table.stem}.md", table_csv.name, *(name for _title, name in plots)])
    print(f"\nwritten to {folder}: {names}", flush=True)


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


def introduction(rows: Sequence[Row], lines: Sequence[Row]) -> list[str]:
    """What the figures are and where they come from; of the table's lines only what concerns them."""

    def distinct(column: str) -> str:
        return "; ".join(dict.fromkeys(str(row[column]) for row in rows if row.get(column)))

    several = any(line["seeds"] > 1 for line in lines)
    seeds, interval = (
        (", mean ± standard deviation over seeds", ", with Welch's 95 % interval") if several else ("", "")
    )
    text = [f"AP is COCO's (IoU .50:.95) of the best epoch's weights{seeds}; GFLOPs count a multiply-add as two."]
    if any(line["minus baseline"] is not None for line in lines):
        text.append(f"The difference is to {distinct('baseline')}{interval}.")
    if distinct("latency machine"):
        gpu = f"; {distinct('GPU')}" if distinct("GPU") else ""
        text.append("Milliseconds are one picture's forward pass, median, all models in turns.")
        where = [f"Latency on: {distinct('latency machine')}; threads: {distinct('latency threads')}{gpu}."]
    else:
        where = []
    if any(row["model"].endswith(f"({peer})") for row in rows for peer in PEERS):
        text.append("A project's name in brackets: trained by that project's code, with its recipe except for the")
        text.append("augmentation that the study or the data set asks for.")
    if distinct("train seconds"):
        text.append("Minutes are wall time, on a machine that may have been doing other work: no measure of speed.")
    mixed = sorted({row["model"] for row in rows for other in rows
                    if all(row[key] == other[key] for key in GROUP)
                    and any(row[key] != other[key] for key in ("epochs", "batch"))})  # fmt: skip
    if mixed:
        text.append(f"**Seeds of different epochs or batch sizes stand together** for {', '.join(mixed)}.")
    return [*text, "", f"Trained on: {distinct('machine')}; {distinct('versions')}.", *where]


def markdown(models: Sequence[Row], size: int) -> list[str]:
    """A table; columns that are empty throughout are left out."""
    cells = [
        {
            "model": line["model"],
            "seeds": str(line["seeds"]),
            "AP": f"{line['AP']:.4f}" + spread(line["standard deviation"]),
            "AP50": number(line["AP50"], "{:.4f}"),
            "difference [95 %]": difference_text(line),
            "parameters": number(line["parameters"], "{:.2f} M", 1e-6),
            "GFLOPs at 640": number(line["GFLOPs at 640"], "{:.1f}"),
            f"at {size}": number(line["GFLOPs"], "{:.3f}"),
            **{column: number(line[column], "{:.2f}") for column in LATENCY_COLUMNS},
            "epochs": number(line["epochs run"], "{:.0f}"),
            "minutes": number(line["train seconds"], "{:.1f}", 1 / 60),
        }
        for line in models
    ]  # fmt: skip
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
