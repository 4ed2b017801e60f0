"""Which model should I take? The README's table, from the committed csv files of studies and nothing else.

    python -m benchmarks.which_model

For every kind of picture the best mean AP within a budget of time, which is a multiple of what yolov5n takes on the
same pictures as they are: the forward pass of one picture on one thread, in ONNX Runtime or OpenVINO, whichever ratio
is worse. Networks that were trained on enlarged pictures take part, at what they cost at their input size. A network
that was not timed does not. Where two differ by less than either's seeds do, the cheaper one is named.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.study_openvino import F32
from benchmarks.study_summary import table_of_texts
from benchmarks.study_table import Row, read_rows
from mgil.engine.cli import run_cli

RESULTS = Path(__file__).parent / "results"
BASELINE = "yolov5n"
BUDGETS = (1.1, 2.2, 4.5)  # times yolov5n's time
RUNTIMES = ("ONNX ms", F32)


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
    """

    pictures: str
    pixels: int
    objects: int
    start: str
    study: str
    data: str


PLACES = (
    Place("heads on site cameras", 64, 4, "from scratch", "iso_cost", "helmet320"),
    Place("digits", 64, 17, "from scratch", "iso_cost", "digits"),
    Place("heads on site cameras", 64, 4, "official weights", "finetune", "helmet64"),
    Place("heads on site cameras", 160, 11, "official weights", "finetune", "helmet160"),
    Place("thermal, from a drone", 320, 11, "official weights", "finetune", "hituav320"),
)


@dataclass(frozen=True)
class Candidate:
    """A model at an input size, over its seeds.

    Attributes:
        name: of the model.
        size: of its input, in pixels.
        seeds: number of trainings.
        score: mean AP.
        deviation: sample standard deviation over seeds; 0 of one seed.
        times: its time as a multiple of the baseline's, in the slower of the runtimes.
    """

    name: str
    size: int
    seeds: int
    score: float
    deviation: float
    times: float


def candidates(rows: Iterable[Row], place: Place) -> list[Candidate]:
    """The models of a place that were timed, the baseline first.

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
        if not all(seeds[0].get(runtime) for runtime in timed):
            continue
        scores = [row["AP"] for row in seeds]
        deviation = statistics.stdev(scores) if len(scores) > 1 else 0.0
        times = max(seeds[0][runtime] / base[runtime] for runtime in timed)
        found.append(Candidate(name, size, len(scores), statistics.fmean(scores), deviation, times))
    return sorted(found, key=lambda one: (one.name, one.size) != (BASELINE, place.pixels))


def best_of(found: Sequence[Candidate], budget: float) -> Candidate:
    """The best within a budget, or a cheaper one that it is not surely better than."""
    within = [one for one in found if one.times <= budget]
    best = max(within, key=lambda one: one.score)
    tied = [one for one in within if best.score - one.score <= max(best.deviation, one.deviation)]
    return min(tied, key=lambda one: (one.times, -one.score))


def named(one: Candidate, place: Place) -> str:
    """A model for people, with what it gives and what it takes."""
    name = one.name.removesuffix(", enlarged")
    enlarged = f" at {one.size} px" if one.size != place.pixels else ""
    spread = f" ± {one.deviation:.3f}" if one.seeds > 1 else ""
    return f"{name}{enlarged}: {one.score:.3f}{spread} ({one.times:.1f}x)"


def table(results: Path = RESULTS) -> list[str]:
    """The table's lines, in Markdown."""
    lines = []
    for place in PLACES:
        found = candidates(read_rows(results / f"study_{place.study}.csv"), place)
        line = {
            "your pictures": f"{place.pictures}, {place.pixels} px",
            "objects": f"{place.objects} px",
            "trained": place.start,
            "yolov5n": f"{found[0].score:.3f}",
        }
        line |= {f"within {budget:g}x its time": named(best_of(found, budget), place) for budget in BUDGETS}
        lines.append(line)
    return table_of_texts(lines)


def main() -> None:
    """Print the table."""
    print("\n".join(table()))


if __name__ == "__main__":
    run_cli(main)
