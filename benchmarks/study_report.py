"""The table and the plots of a study, made from its csv alone.

The interval of a difference to the baseline is Welch's at 95 % for two independent means: an equal seed does not make
two architectures start alike. It says how far chance in the training goes; the images of the validation set are the
same for all. One seed has no interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.study_class_report import CLASS_FORM
from benchmarks.study_latency import COLUMNS as LATENCY_COLUMNS
from benchmarks.study_models import PEERS
from benchmarks.study_plots import draw_plots
from benchmarks.study_pose_report import POSE_FORM
from benchmarks.study_summary import (
    Form,
    about_difference,
    about_training,
    difference_text,
    distinct,
    heading,
    number,
    spread,
    summarise,
    table_of_texts,
    where_trained,
    write_csv,
)
from benchmarks.study_table import CLASSES, POSE, Row, read_rows
from mgil.files.atomic import write_text_atomic


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
    form = form_of(rows)
    groups = summarise(rows, form)
    if not groups:
        raise ValueError(f"{table}: no cell is finished yet")
    folder.mkdir(parents=True, exist_ok=True)
    plots = draw_plots(rows, groups, folder, table.stem, form)
    lines = [
        f"# Study {rows[0]['study']}",
        "",
        *form.introduction(rows, [line for models in groups.values() for line in models]),
        "",
    ]
    for group, models in groups.items():
        lines += [f"## {heading(group)}", "", *form.markdown(models, group[1]), "", *form.remarks(models, rows)]
    lines += [text for title, name in plots for text in (f"![{title}]({name})", "")]
    write_text_atomic(folder / f"{table.stem}.md", "\n".join(lines))
    table_csv = folder / f"{table.stem}_table.csv"
    write_csv(table_csv, [line for models in groups.values() for line in models])
    for group, models in groups.items():
        print("\n".join(["", heading(group), *form.markdown(models, group[1])]))
    names = ", ".join([f"{table.stem}.md", table_csv.name, *(name for _title, name in plots)])
    print(f"\nwritten to {folder}: {names}", flush=True)


def introduction(rows: Sequence[Row], lines: Sequence[Row]) -> list[str]:
    """What the figures are and where they come from; of the table's lines only what concerns them."""

    seeds = ", mean ± standard deviation over seeds" if any(line["seeds"] > 1 for line in lines) else ""
    text = [f"AP is COCO's (IoU .50:.95) of the best epoch's weights{seeds}; GFLOPs count a multiply-add as two."]
    text += about_difference(rows, lines)
    if distinct(rows, "latency machine"):
        gpu = f"; {distinct(rows, 'GPU')}" if distinct(rows, "GPU") else ""
        text.append("Milliseconds are one picture's forward pass, median, all models in turns.")
        where = [f"Latency on: {distinct(rows, 'latency machine')}; threads: {distinct(rows, 'latency threads')}{gpu}."]
    else:
        where = []
    if any(row["model"].endswith(f"({peer})") for row in rows for peer in PEERS):
        text.append("A project's name in brackets: trained by that project's code, with its recipe except for the")
        text.append("augmentation that the study or the data set asks for.")
    text += about_training(rows)
    return [*text, "", where_trained(rows), *where]


def markdown(models: Sequence[Row], size: int) -> list[str]:
    """A table; columns that are empty throughout are left out."""
    return table_of_texts([
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
    ])  # fmt: skip


DETECTION_FORM = Form(
    score="AP",
    scores=("AP50", "AP75", "AP small"),
    facts=("parameters", "GFLOPs at 640", "GFLOPs"),
    costs=(*LATENCY_COLUMNS, "train seconds", "epochs run"),
    plotted=("GFLOPs", *LATENCY_COLUMNS),
    introduction=introduction,
    markdown=markdown,
    remarks=lambda _lines, _rows: [],
)


def form_of(rows: Sequence[Row]) -> Form:
    """Of a study of detection, of pose or of classification, told by the columns."""
    columns = rows[0] if rows else {}
    return POSE_FORM if POSE in columns else CLASS_FORM if CLASSES in columns else DETECTION_FORM
