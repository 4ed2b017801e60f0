"""The boxes that other weights find in the pictures of a split, for a task that looks in boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tqdm import tqdm

from mgil.datasets.batches.decode import Change, decode_image
from mgil.datasets.reading.value_range import ValueRange
from mgil.engine.evaluation.config import ValFlags
from mgil.engine.runtimes.predictors import open_finder
from mgil.files.text import Report
from mgil.tasks.abilities import BoxTask, Followable, FollowingPredictor
from mgil.tasks.base import Split

AT_ONCE = 16  # pictures


def with_found_boxes(
    task: BoxTask, split: Split, config: ValFlags, values: ValueRange | None, change: Change | None, report: Report
) -> Split:
    """The split with the boxes that the weights find, or the file holds, which the options name; else as it is.

    What is done to the pictures, `change`, is done before anything is found.

    Raises:
        FileNotFoundError, ValueError, OSError: As `open_finder`.
    """
    finder = task.finder(config)
    if finder is None:
        return task.with_filed(split, config, report)
    predictor = open_finder(finder, config.device, config.half, report, config.amp, config.download)
    found = find_boxes(predictor, task.pictures(split), values, change)
    return task.with_found(split, found, finder.weights, report)


def find_boxes(
    predictor: FollowingPredictor, paths: Sequence[str], values: ValueRange | None, change: Change | None = None
) -> Iterator[tuple[str, Followable]]:
    """Each path with what is found in its picture; one that cannot be read is left out, the loader tells of it."""
    progress = tqdm(total=len(paths), desc="boxes", disable=None, leave=False)
    with progress:
        for start in range(0, len(paths), AT_ONCE):
            images, read = [], []
            for path in paths[start : start + AT_ONCE]:
                try:
                    image = decode_image(path, values)
                    images.append(change(image) if change else image)
                    read.append(path)
                except (ValueError, OSError):
                    continue
            results = predictor(images, read) if images else ()
            for path, result in zip(read, results, strict=True):
                assert isinstance(result, Followable)
                yield path, result
            progress.update(len(paths[start : start + AT_ONCE]))
