"""Where a network's operations and its time go: map by map, and how much of it its blocks take.

    python -m benchmarks.rows yolov5n.yaml yolov5n-mgil-res.yaml --img 64

Each stride-2 layer is a line, with the map that it makes, and its share of the network's operations, parameters and
time (fused, float32, batch 1, one thread by default; medians). The last line is all the rest.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mgil.block.flie import FLIE
from mgil.block.mgil import MGIL
from mgil.engine.cli import run_cli
from mgil.networks.detector import DetectionModel, build_model
from mgil.networks.layers import Concat, Conv
from mgil.networks.profile import profile


@dataclass(frozen=True)
class RowCost:
    """What a row of a model costs at one input size.

    Attributes:
        name: number and kind of the row.
        map_hw: height and width of the map that it makes.
        parameters: number of learned values.
        mflops: millions of operations, a multiply-add counted as two.
        ms: median milliseconds.
    """

    name: str
    map_hw: tuple[int, int]
    parameters: int
    mflops: float
    ms: float


@torch.no_grad()
def row_costs(model: DetectionModel, size: int, rounds: int) -> list[RowCost]:
    """The costs of every row but the head, in order; the model is fused for the times."""
    inputs, outputs = _maps(model, size)
    fused = model.fused()
    found = []
    for number, (row, quick) in enumerate(zip(model.model[:-1], fused.model[:-1], strict=True)):
        given, made = inputs[number], outputs[number]
        cost = profile(_Joined(row), (given[0].shape[2], given[0].shape[3]), sum(each.shape[1] for each in given))
        times = []
        for _ in range(rounds):
            started = time.perf_counter()
            quick(given if len(given) > 1 else given[0])
            times.append((time.perf_counter() - started) * 1000)
        kind = type(row).__name__
        map_hw = (made.shape[2], made.shape[3])
        found.append(RowCost(f"{number} {kind}", map_hw, cost.parameters, cost.gflops * 1e3, statistics.median(times)))
    return found


class _Joined(nn.Module):
    """A row whose inputs come as one map; Concat has nothing to count then."""

    def __init__(self, row: nn.Module) -> None:
        super().__init__()
        self.row = row

    def forward(self, x: Tensor) -> Tensor:
        return x if isinstance(self.row, Concat) else self.row(x)


def _maps(model: DetectionModel, size: int) -> tuple[list[list[Tensor]], list[Tensor]]:
    """What each row gets and gives for a picture of zeros."""
    inputs: list[list[Tensor]] = []
    outputs: list[Tensor] = []

    def look(_module: nn.Module, given: Any, made: Any) -> None:
        inputs.append(list(given[0]) if isinstance(given[0], (list, tuple)) else [given[0]])
        outputs.append(made)

    handles = [row.register_forward_hook(look) for row in model.model]
    model.eval()(torch.zeros(1, 3, size, size))
    for handle in handles:
        handle.remove()
    return inputs, outputs


def halves(row: nn.Module) -> bool:
    """Whether a row is a stride-2 layer."""
    return isinstance(row, (MGIL, FLIE)) or (isinstance(row, Conv) and row.conv.stride == (2, 2))


def print_table(name: str, model: DetectionModel, costs: list[RowCost], size: int) -> None:
    """Print the stride-2 layers of a model, and the rest."""
    total = [sum(getattr(cost, key) for cost in costs) for key in ("mflops", "parameters", "ms")]
    text = f"{total[0]:.1f} MFLOPs, {total[1] / 1e6:.2f} M parameters, {total[2]:.2f} ms without the head"
    print(f"\n{name} at {size} px: {text}")
    print("| row | map | MFLOPs | parameters | ms |\n| --- | --- | --- | --- | --- |")
    shown = [cost for cost, row in zip(costs, model.model, strict=False) if halves(row)]
    sums = [sum(getattr(cost, key) for cost in shown) for key in ("mflops", "parameters", "ms")]
    rows = [(cost.name, "{}x{}".format(*cost.map_hw), [cost.mflops, cost.parameters, cost.ms]) for cost in shown]
    rows += [
        ("all of these", "", sums),
        ("the rest", "", [whole - part for whole, part in zip(total, sums, strict=True)]),
    ]
    for label, text, values in rows:
        shares = [f"{100 * value / whole:.0f} %" for value, whole in zip(values, total, strict=True)]
        print(
            f"| {label} | {text} | {values[0]:.2f} ({shares[0]}) | {values[1]:,.0f} ({shares[1]}) "
            f"| {values[2]:.3f} ({shares[2]}) |"
        )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="model names, as for train.py --cfg")
    parser.add_argument("--img", type=int, default=64, help="input size in pixels")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--rounds", type=int, default=50, help="timed runs of each row")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.models:
        model = build_model(name, imgsz=arguments.img)
        print_table(name, model, row_costs(model, arguments.img, arguments.rounds), arguments.img)


if __name__ == "__main__":
    run_cli(main)
