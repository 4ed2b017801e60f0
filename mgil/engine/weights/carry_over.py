"""What `mgil carry-over` does: weights of a network of blocks that computes what other weights compute."""

from __future__ import annotations

from pathlib import Path

from mgil.engine.weights.carry_over_config import CarryOverConfig
from mgil.engine.weights.checkpoints import load_checkpoint, save_checkpoint
from mgil.engine.weights.released import fetch_weights
from mgil.engine.weights.start import AGREE, Start, start_from
from mgil.files.text import Report
from mgil.tasks.registry import task_named


def run_carry_over(config: CarryOverConfig, report: Report = print) -> Path:
    """Write a weights file whose blocks begin as the plain layers of another, with the same outputs.

    Returns:
        The file. Task, names, size and info are those of the weights.

    Raises:
        FileNotFoundError: No such weights or model.
        FileExistsError: The file is there, and --exist-ok was not given.
        ValueError: Not all of the network can begin as the weights; nothing is written.
        OSError: It cannot be written.
    """
    weights = Path(config.weights)
    output = Path(config.output) if config.output else weights.with_name(f"{Path(config.cfg).stem}.pt")
    if output.resolve() == weights.resolve():
        raise ValueError(f"--output {output}: these are the weights; give another name")
    if output.exists() and not config.exist_ok:
        raise FileExistsError(f"{output} exists; --exist-ok replaces it, --output gives another name")
    if config.download:
        fetch_weights(weights, report)
    checkpoint = load_checkpoint(weights)
    task = task_named(checkpoint.task)
    model = task.build(config.cfg, checkpoint.names, checkpoint.imgsz)
    model.take_facts(checkpoint.architecture)
    lines: list[str] = []
    start = start_from(model, checkpoint, own_architecture=True, report=lines.append, named=task.named)
    if start.whole and not start.carried:
        raise ValueError(
            f"{config.cfg} has no block in the place of a plain stride-2 layer of these weights; nothing is written"
        )
    if not _is_exact(start):
        raise ValueError(f"{config.cfg} cannot begin as all of these weights; nothing is written. {'; '.join(lines)}")
    save_checkpoint(output, model, checkpoint.info, task=checkpoint.task)
    report("\n".join(lines))
    report(f"{output}: written; it finds what {weights} finds")
    return output


def _is_exact(start: Start) -> bool:
    return bool(start.carried) and not start.left and start.off is not None and start.off <= AGREE
