"""A batch that does not fit the GPU, in words that help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch


@contextmanager
def memory_errors(where: str, shape: Sequence[int]) -> Iterator[None]:
    """Translate the GPU's out-of-memory error inside the block.

    Half the images take half of what a batch takes beside the weights, so half is what is named: the exact number that
    fits depends on what else uses the card.

    Args:
        where: Which batch it is.
        shape: (B, 3, H, W) of its images.

    Raises:
        ValueError: Out of memory; names the batch and a size that should fit.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        batch, _, height, width = shape
        advice = "not even one image does; use a smaller --imgsz or model"
        if batch > 1:
            advice = f"{batch // 2} should; use half the --batch-size"
        raise ValueError(
            f"{where}: {batch} images of {height}x{width} px do not fit the GPU{_memory()}; {advice}"
        ) from error


def _memory() -> str:
    if not torch.cuda.is_available():
        return ""
    free, total = torch.cuda.mem_get_info()
    return f" ({(total - free) / 2**30:.1f} of {total / 2**30:.1f} GiB in use)"
