"""Classification's loss: cross entropy with soft targets."""

from __future__ import annotations

from torch import Tensor


class ClassLoss:
    """Cross entropy with label smoothing, in float32.

    Args:
        smoothing: Share of a target that all classes divide evenly, the own one too, as `torch.nn.CrossEntropyLoss` has
            it and as timm has it for mixed pictures.
        nominal: Pictures of a whole optimizer step (a recipe's `nbs`): what is minimised is then the sum over the
            pictures divided by this, so that batches whose gradients are added up make the mean of all of them. None:
            the mean over the pictures.

    Raises:
        ValueError: The smoothing is not in [0, 1).
    """

    def __init__(self, smoothing: float = 0.0, nominal: float | None = None) -> None:
        if not 0 <= smoothing < 1:
            raise ValueError(f"label smoothing is {smoothing!r}, must be at least 0 and below 1")
        self.smoothing, self.nominal = smoothing, nominal

    @property
    def terms(self) -> tuple[str, ...]:
        """One: the cross entropy."""
        return ("ce",)

    def __call__(self, outputs: Tensor, targets: Tensor, /) -> tuple[Tensor, Tensor]:
        """Compare logits with labels.

        Args:
            outputs: (B, C) logits.
            targets: (T, 3) picture, class, weight; a picture's weights add up to 1; one without rows teaches nothing.

        Returns:
            What is minimised, and (1,) the mean over the pictures with rows, detached.
        """
        logs = outputs.float().log_softmax(dim=1)
        weights = targets[:, 2].float()
        shares = logs.new_zeros(logs.shape).index_put_(
            (targets[:, 0].long(), targets[:, 1].long()), weights, accumulate=True
        )
        labelled = shares.sum(dim=1, keepdim=True)  # 1, or 0 where a picture could not be read
        wanted = shares * (1 - self.smoothing) + labelled * (self.smoothing / logs.shape[1])
        # what has no share costs nothing, be its logit -inf
        costs = -(wanted * logs.masked_fill(wanted == 0, 0)).sum(dim=1)
        total = costs.sum()
        mean = total / labelled.sum().clamp(min=1)
        return mean if self.nominal is None else total / self.nominal, mean.detach().reshape(1)
