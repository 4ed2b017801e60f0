"""AP of a study's trained detectors over strengths of degradations, and how the others compare with the first.

    python -m benchmarks.study degraded --data-root FOLDER --no-latency
    python -m benchmarks.degradations degraded --data-root FOLDER

The best.pt of every finished cell is evaluated as `val.py --degrade` does it, on the cell's own val pictures. The csv
has a row for each cell and strength; the table the means over seeds, with the difference from the baseline at 95 %.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.study import OUTPUT, part_of
from benchmarks.study_cell import RESULT
from benchmarks.study_plan import Study, find_study, load_study
from benchmarks.study_summary import difference
from benchmarks.study_table import Row
from mgil.engine.cli import run_cli
from mgil.engine.evaluation.config import ValConfig
from mgil.engine.evaluation.run import run_val
from mgil.files.atomic import write_text_atomic
from mgil.files.csv_file import write_csv
from mgil.files.figures import new_figure, save_figure
from mgil.files.matplotlib_import import own_settings

STRENGTHS = ("area:2,3", "blur:1,2", "gamma:0.4,2.5", "noise:8,16", "jpeg:40,15")
PADDED = 0.5  # as studies evaluate


def evaluated(study: Study, output: Path, strengths: Sequence[str]) -> list[Row]:
    """A row for each finished cell and strength."""
    rows: list[Row] = []
    for cell in study.cells:
        folder = output / "cells" / cell.folder_name
        if not (folder / RESULT).exists():
            print(f"{cell}: not trained yet, left out", flush=True)
            continue
        with TemporaryDirectory() as project:
            config = ValConfig(
                (str(folder / "run" / "weights" / "best.pt"),),
                str(part_of(cell, output.absolute() / "data")),
                imgsz=(cell.size,),
                pad=PADDED,
                degrade=tuple(strengths),
                project=project,
            )
            found = run_val(config, report=lambda _line: None)
        for name, evaluation in found.items():
            scores = {"AP": evaluation.scores.row()["AP"], "AP50": evaluation.scores.row()["AP50"]}
            rows.append({**cell.facts, "study": study.name, "degradation": str(name), **scores})
        print(f"{cell}: AP {rows[-len(found)]['AP']:.4f} as they are, {rows[-1]['AP']:.4f} at {name}", flush=True)
    return rows


def table_of(rows: Sequence[Row], baseline: str) -> list[str]:
    """A Markdown table for each data set: a line for each strength, a column for each model."""
    lines = []
    for data, size in dict.fromkeys((row["data"], row["size"]) for row in rows):
        own = [row for row in rows if (row["data"], row["size"]) == (data, size)]
        models = list(dict.fromkeys(row["model"] for row in own))
        others = [model for model in models if model != baseline] if baseline in models else []
        heads = [*models, *(f"{model} - {baseline} [95 %]" for model in others)]
        lines += ["", f"{data}, {size} px, COCO AP", "", "| pictures | " + " | ".join(heads) + " |"]
        lines.append("|" + " --- |" * (len(heads) + 1))
        for degradation in dict.fromkeys(row["degradation"] for row in own):
            values = {
                model: [row["AP"] for row in own if (row["model"], row["degradation"]) == (model, degradation)]
                for model in models
            }
            cells = [_mean(values[model]) for model in models]
            cells += [str(difference(values[model], values[baseline])) for model in others]
            lines.append(f"| {degradation.replace('start', 'as they are')} | " + " | ".join(cells) + " |")
    return lines


def _mean(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{spread} ({len(values)})"


@own_settings()
def plot(rows: Sequence[Row], path: Path) -> None:
    """A panel for each data set and kind: the mean AP of each model over strengths."""
    sets = list(dict.fromkeys((row["data"], row["size"]) for row in rows))
    names = list(dict.fromkeys(row["degradation"] for row in rows if row["degradation"] != "start"))
    kinds = list(dict.fromkeys(name.partition(":")[0] for name in names))
    figure, panels = new_figure(2.6 * len(kinds) + 1, 3 * len(sets), len(sets), len(kinds))
    panels = np.reshape(panels, (len(sets), len(kinds)))
    for line, (data, size) in enumerate(sets):
        own = [row for row in rows if (row["data"], row["size"]) == (data, size)]
        for panel, kind in zip(panels[line], kinds, strict=True):
            shown = ["start", *(name for name in names if name.startswith(f"{kind}:"))]
            for model in dict.fromkeys(row["model"] for row in own):
                means = [
                    statistics.fmean(row["AP"] for row in own if (row["model"], row["degradation"]) == (model, name))
                    for name in shown
                ]
                panel.plot(range(len(shown)), means, "-o", label=model)
            panel.set_xticks(range(len(shown)), ["start", *(name.partition(":")[2] for name in shown[1:])])
            panel.set(xlabel=kind, ylim=(0, None), title=f"{data}, {size} px" if panel is panels[line][0] else "")
            panel.grid(alpha=0.25)
    panels[0][-1].legend(frameon=False)
    save_figure(figure, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate what a study trained, and write table and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="a shipped study, or the path of a .py file")
    parser.add_argument("--data-root", type=Path, nargs="+", default=[], help="folders of data sets not shipped")
    parser.add_argument("--only", nargs="+", default=[], metavar="KEY=PATTERN", help="model, data, size, seed")
    parser.add_argument("--degrade", nargs="+", default=STRENGTHS, help="strengths, as val.py --degrade takes them")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the study's cells are")
    parser.add_argument("--results", type=Path, help="where the files go; default: the study's output folder")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    study = load_study(find_study(options.study), options.data_root, options.only)
    output = options.output / study.name
    rows = evaluated(study, output, options.degrade)
    if not rows:
        raise ValueError(f"{output}: holds no trained cell of the study {study.name}; train it first")
    results = options.results or output
    results.mkdir(parents=True, exist_ok=True)
    header = tuple(rows[0])
    write_csv(results / f"degradations_{study.name}.csv", header, [[row[name] for name in header] for row in rows])
    lines = table_of(rows, study.baseline)
    print("\n".join(lines))
    write_text_atomic(results / f"degradations_{study.name}.md", "\n".join([__doc__.splitlines()[0], *lines, ""]))
    plot(rows, results / f"degradations_{study.name}.png")


if __name__ == "__main__":
    run_cli(main)
