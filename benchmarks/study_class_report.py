"""The table of a study of classification, from its csv alone: top-1, the paper's, and equal operations."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.study_summary import (
    Form,
    about_difference,
    about_training,
    at_equal_operations,
    difference_text,
    number,
    over_seeds,
    spread,
    table_of_texts,
    where_trained,
)
from benchmarks.study_table import Row


def introduction(rows: Sequence[Row], lines: Sequence[Row]) -> list[str]:
    """What the figures are and where they come from."""
    text = [
        f"top-1 and top-5 are shares of the val split's pictures, by the best epoch's weights{over_seeds(lines)}.",
        "MFLOPs are of one picture at the table's size and count a multiply-add as two.",
    ]
    text += about_difference(rows, lines)
    if any(line["published top-1"] is not None for line in lines):
        text.append("The paper's top-1, in percent, is on other pictures: its order and its steps are to be compared.")
    text += about_training(rows)
    return [*text, "", where_trained(rows)]


def markdown(lines: Sequence[Row], size: int) -> list[str]:
    """A table; columns that are empty throughout are left out."""
    return table_of_texts(
        [
            {
                "model": line["model"],
                "seeds": str(line["seeds"]),
                "top-1": f"{line['top-1']:.4f}" + spread(line["standard deviation"]),
                "top-5": number(line["top-5"], "{:.4f}"),
                "difference [95 %]": difference_text(line),
                "paper's top-1": number(line["published top-1"], "{:.2f}"),
                "parameters": number(line["parameters"], "{:.2f} M", 1e-6),
                f"MFLOPs at {size}": number(line["MFLOPs"], "{:.1f}"),
                "epochs": number(line["epochs run"], "{:.0f}"),
                "minutes": number(line["train seconds"], "{:.1f}", 1 / 60),
            }
            for line in lines
        ]
    )


CLASS_FORM = Form(
    score="top-1",
    scores=("top-5",),
    facts=("parameters", "MFLOPs", "operations of", "published top-1"),
    costs=("train seconds", "epochs run"),
    plotted=("MFLOPs",),
    introduction=introduction,
    markdown=markdown,
    remarks=lambda lines, rows: at_equal_operations(lines, rows, "top-1"),
)
