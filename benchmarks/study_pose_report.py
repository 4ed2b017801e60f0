"""The table of a study of pose, from its csv alone: AP beside the paper's, and beside what as many operations buy."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.study_pose_models import PoseModel
from benchmarks.study_summary import (
    Form,
    about_difference,
    about_training,
    at_equal_operations,
    difference_text,
    distinct,
    number,
    over_seeds,
    spread,
    table_of_texts,
    where_trained,
)
from benchmarks.study_table import POSE_SIZES, Row

BY_BOX = "PCK@0.1"  # of sets that have neither heads nor torsos; their best epoch is that of the best AP


def introduction(rows: Sequence[Row], lines: Sequence[Row]) -> list[str]:
    """What the figures are and where they come from."""
    text = [
        f"AP is OKS AP (OKS .50:.95) of the best epoch's weights on labelled boxes, with flip test{over_seeds(lines)}.",
        "MFLOPs are of one crop at the table's size and count a multiply-add as two: half of them are the",
        "multiply-adds that papers of pose call FLOPs.",
    ]
    text += about_difference(rows, lines)
    if kinds := distinct(rows, "PCK kind"):
        chosen = "" if BY_BOX in kinds else ", and chooses the best epoch"
        text.append(f"PCK is {kinds}, mean over all labels{chosen}.")
    if any(line["published AP"] is not None for line in lines):
        text.append("The paper's AP, in percent, is on other people, with another host: its order is to be compared.")
    if any(row["model"].endswith(f"({peer})") for row in rows for peer in PoseModel.PEERS):
        text.append("A project's name in brackets: trained by that project's code and recipe. It finds people in whole")
        text.append("pictures, reduced to the table's size, where the others are given a box and look at a crop of it:")
        text.append("it misses people too, sees each with fewer pixels, has no flip test, and no PCK.")
    text += about_training(rows)
    return [*text, "", where_trained(rows)]


def markdown(lines: Sequence[Row], size: int) -> list[str]:
    """A table; columns that are empty throughout are left out."""
    return table_of_texts(
        [
            {
                "model": line["model"],
                "seeds": str(line["seeds"]),
                "AP": f"{line['AP']:.4f}" + spread(line["standard deviation"]),
                "AP50": number(line["AP50"], "{:.4f}"),
                "AP75": number(line["AP75"], "{:.4f}"),
                "PCK": number(line["PCK"], "{:.4f}"),
                "difference [95 %]": difference_text(line),
                "paper's AP": number(line["published AP"], "{:.1f}"),
                "parameters": number(line["parameters"], "{:.2f} M", 1e-6),
                f"MFLOPs at {size}": number(line["MFLOPs"], "{:.1f}"),
                **{f"{column} of the picture": number(line[column], "{:.4f}") for column in POSE_SIZES},
                "epochs": number(line["epochs run"], "{:.0f}"),
                "minutes": number(line["train seconds"], "{:.1f}", 1 / 60),
            }
            for line in lines
        ]
    )


POSE_FORM = Form(
    score="AP",
    scores=("AP50", "AP75", "AR", *POSE_SIZES, "PCK"),
    facts=("parameters", "MFLOPs", "operations of", "published AP"),
    costs=("train seconds", "epochs run"),
    plotted=("MFLOPs",),
    introduction=introduction,
    markdown=markdown,
    remarks=lambda lines, rows: at_equal_operations(lines, rows, "AP"),
)
