"""Which model should I take? The README's table, from committed csv files and nothing else.

    python -m benchmarks.which_model             # one line for each kind of picture
    python -m benchmarks.which_model --all       # every model of each, for docs/results.md

For every kind of picture the best mean AP within a budget of time, which is a multiple of what yolov5n takes on the
same pictures as they are: the forward pass of one picture on one thread, in ONNX Runtime or OpenVINO, whichever ratio
is worse (`python -m benchmarks.which_model_times`). Networks that were trained on enlarged pictures take part, at what
they cost at their input size. A network that was not timed does not. Of two whose means are no further apart than one
standard deviation over seeds, the larger of theirs, the cheaper one is named; one seed has none, and no "±".
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.study_latency import ONNX, PYTORCH
from benchmarks.study_openvino import BF16, F32, INT8
from benchmarks.study_summary import difference, mean_of, table_of_texts
from benchmarks.study_table import Row, read_rows
from mgil.engine.cli import run_cli

RESULTS = Path(__file__).parent / "results"
TIMED = RESULTS / "which_model_times.csv"
BASELINE = "yolov5n"
BUDGETS = (1.2, 2.2, 4.5)  # times yolov5n's time; as long, as far as ratios of small networks can be told
RUNTIMES = (ONNX, F32)
TIMES = (PYTORCH, *RUNTIMES, BF16, INT8)
AREAS = ("small", "medium", "large")  # COCO's, below 32 and 96 pixels square


@dataclass(frozen=True)
class Place:
    """A kind of picture that models were compared on.

    Attributes:
        pictures: what they show.
        pixels: their longer side.
        objects: median side of an object, in pixels of the picture.
        start: how the models were trained.
        study: whose csv it is.
        data: the data set.
        training: how long, on how many pictures, with which recipe.
    """

    pictures: str
    pixels: int
    objects: int
    start: str
    study: str
    data: str
    training: str

    @property
    def title(self) -> str:
        """For headings."""
        return f"{self.pictures}, {self.pixels} px, {self.start}"


HEADS, THERMAL = "heads on site cameras", "thermal, from a drone"
SCRATCH, OFFICIAL = "from scratch", "official weights"
FEW_HEADS = "10 epochs of 600 pictures, batch 16, hyp.lowres.yaml"
FEW_THERMAL = "6 epochs of 400 pictures, batch 16, hyp.finetune.yaml"
PLACES = (
    Place(HEADS, 64, 4, SCRATCH, "iso_cost", "helmet320", "40 epochs of 1,700 pictures, batch 16, hyp.lowres.yaml "
          "with the better of two learning rates by held-out pictures; areas are those of the pictures at 320 px"),
    Place("digits", 64, 13, SCRATCH, "iso_cost", "digits", "15 epochs of 3,000 pictures, batch 32, the set's recipe"),
    Place(HEADS, 160, 11, SCRATCH, "p3_scratch", "helmet160", "15 epochs of 1,700 pictures, batch 16, hyp.lowres.yaml"),
    Place(HEADS, 64, 4, OFFICIAL, "small_pictures", "helmet64", FEW_HEADS),
    Place(HEADS, 160, 11, OFFICIAL, "small_pictures", "helmet160", FEW_HEADS),
    Place(HEADS, 320, 22, OFFICIAL, "small_pictures", "helmet320", FEW_HEADS),
    Place(THERMAL, 160, 5, OFFICIAL, "small_pictures", "hituav160", FEW_THERMAL),
    Place(THERMAL, 320, 10, OFFICIAL, "small_pictures", "hituav320", FEW_THERMAL),
)  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """A model at an input size, over its seeds.

    Attributes:
        name: of the model.
        size: of its input, in pixels.
        scores: AP of each seed.
        times: its time as a multiple of the baseline's, in the slower of the runtimes; None: it was not timed.
        rows: of the csv, one a seed.
    """

    name: str
    size: int
    scores: tuple[float, ...]
    times: float | None
    rows: Sequence[Row] = field(default=(), compare=False)

    @property
    def score(self) -> float:
        """Mean AP."""
        return statistics.fmean(self.scores)

    @property
    def deviation(self) -> float:
        """Sample standard deviation over seeds; 0 of one seed."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else 0.0


def rows_of(place: Place, results: Path) -> list[Row]:
    """The rows of a place's study, with the times that were taken for this table and no others."""
    times: dict[tuple[str, ...], dict[str, str]] = {}
    with (results / TIMED.name).open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if (line["study"], line["data"]) == (place.study, place.data):
                times[line["model"], line["size"]] = line
    rows = []
    for row in read_rows(results / f"study_{place.study}.csv"):
        found = times.get((row["model"], str(row["size"])), {})
        rows.append(row | {name: float(found[name]) if found.get(name) else None for name in TIMES})
    return rows


def candidates(rows: Iterable[Row], place: Place) -> list[Candidate]:
    """The models of a place, the baseline first.

    Raises:
        ValueError: the baseline is missing, or was not timed.
    """
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        if row["data"] == place.data and row["split"] == "val":
            groups.setdefault((row["model"], row["size"]), []).append(row)
    base = groups.get((BASELINE, place.pixels), [{}])[0]
    timed = [name for name in RUNTIMES if base.get(name)]
    if not timed:
        raise ValueError(f"study {place.study}: no time of {BASELINE} on {place.data} at {place.pixels} px")
    found = []
    for (name, size), seeds in groups.items():
        first = seeds[0]
        every = all(first.get(runtime) for runtime in timed)
        times = max(first[runtime] / base[runtime] for runtime in timed) if every else None
        found.append(Candidate(name, size, tuple(row["AP"] for row in seeds), times, seeds))
    return sorted(found, key=lambda one: (one.name, one.size) != (BASELINE, place.pixels))


def best_of(found: Sequence[Candidate], budget: float) -> Candidate:
    """The best within a budget, or a cheaper one that it is not surely better than."""
    timed = [(one.times, one) for one in found if one.times is not None]
    within = [one for times, one in timed if times <= budget]
    best = max(within, key=lambda one: one.score)
    tied = [one for one in within if best.score - one.score <= max(best.deviation, one.deviation)]
    return min(tied, key=lambda one: (one.times or 0, -one.score))


def named(one: Candidate, place: Place) -> str:
    """A model for people, with what it gives and what it takes."""
    name = one.name.removesuffix(", enlarged")
    enlarged = f" at {one.size} px" if one.size != place.pixels else ""
    return f"{name}{enlarged}: {scored(one)} ({one.times:.2f}x)"


def scored(one: Candidate) -> str:
    """Mean and deviation for people."""
    return f"{one.score:.3f}" + (f" ± {one.deviation:.3f}" if len(one.scores) > 1 else "")


def table(results: Path = RESULTS) -> list[str]:
    """The table's lines, in Markdown."""
    lines = []
    for place in PLACES:
        found = candidates(rows_of(place, results), place)
        line = {
            "your pictures": f"{place.pictures}, {place.pixels} px",
            "objects": f"{place.objects} px",
            "trained": place.start,
            "yolov5n": f"{found[0].score:.3f}",
        }
        line |= {f"within {budget:g}x its time": named(best_of(found, budget), place) for budget in BUDGETS}
        lines.append(line)
    return table_of_texts(lines)


def training_of(place: Place) -> str:
    """A line on how the models of a place were trained, with the study that holds the rest."""
    study = f"study_{place.study}.md"
    return f"{place.training[0].upper()}{place.training[1:]} ([{place.study}](../benchmarks/results/{study}))."


def whole_table(place: Place, results: Path = RESULTS) -> list[str]:
    """Every model of a place, in Markdown, the best first."""
    base, *others = candidates(rows_of(place, results), place)
    lines = []
    for one in sorted((base, *others), key=lambda one: -one.score):
        row = one.rows[0]
        areas = [mean_of(row.get(f"AP {area}") for row in one.rows) for area in AREAS]
        seconds = [row["train seconds"] for row in one.rows if row.get("train seconds")]
        texts = {
            "model": one.name,
            "input": f"{one.size} px",
            "AP by seed": " ".join(f"{score:.3f}" for score in one.scores),
            "AP": scored(one),
            "above yolov5n [95 %]": "" if one is base else str(difference(one.scores, base.scores)),
            f"AP {', '.join(AREAS)}": ", ".join("-" if area is None else f"{area:.3f}" for area in areas),
            "parameters": f"{row['parameters'] / 1e6:.2f} M",
            "GFLOPs at this input": f"{row['GFLOPs']:.3f}",
        }
        texts |= {name: f"{row[name]:.2f}" if row.get(name) else "" for name in TIMES}
        texts["time"] = f"{one.times:.2f}x" if one.times else ""
        lines.append(texts | {"training, minutes": f"{statistics.median(seconds) / 60:.1f}" if seconds else ""})
    return table_of_texts(lines)


def main() -> None:
    """Print the table, or those of every place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every model of every kind of picture")
    if not parser.parse_args().all:
        print("\n".join(table()))
        return
    for place in PLACES:
        print("\n".join([f"### {place.title}", "", training_of(place), "", *whole_table(place), ""]))


if __name__ == "__main__":
    run_cli(main)
