"""Is the exported file the network that was exported? Both are run on real images, and the task compares them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mgil.engine.export.job import ExportJob

Run = Callable[[Tensor], Tensor]  # (B, 3, H, W) float32 -> predictions


def check_file(job: ExportJob, run: Run, inputs: Sequence[Tensor]) -> object:
    """Compare an opened file with the network.

    Args:
        job: what was exported.
        run: runs the file.
        inputs: batches of real images, (B, 3, H, W) float32.

    Returns:
        The largest difference over all batches; as a string, a line for people.

    Raises:
        ValueError: it is larger than the number type explains.
    """
    return job.task.compare([run(batch) for batch in inputs], [reference(job.model, batch) for batch in inputs], job)


@torch.inference_mode()
def reference(model: nn.Module, images: Tensor) -> Tensor:
    """PyTorch's own predictions, image by image."""
    return torch.cat([model(image[None]) for image in images])
