"""Training in several processes, one of which is made to fail; also the program that these processes run.

`python ranks.py` reads orders and forks two processes for each, under a store like torchrun's: importing PyTorch takes
seconds, and so it is done once. `torchrun ranks.py TRAIN_FLAGS...` is train.py with the fault that FAULT names.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    """How the processes of a training ended, by rank."""

    codes: list[int]  # -9 for SIGKILL
    said: list[str]
    errors: list[str]
    weights: list[list[str]]  # a digest of the weights after each epoch
    seconds: float  # from the first end to the last


class Launcher:
    """Starts trainings of two processes, one training at a time."""

    def __init__(self, folder: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "RANKS_FOLDER": str(folder)}
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def train(self, options: dict[str, Any], fault: str = "") -> Outcome:
        """Train with options as `config_from_dict` takes them; `fault` is one of those in `spoil`."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([options, fault]) + "\n")
        self.process.stdin.flush()
        return Outcome(**json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def spoil(fault: str) -> None:
    """Make rank 1 fail; with `random` in front, and a hyphen, every rank draws random numbers in its loss too.

    Rank 1 fails by: `nan` in its second batch, `diverged` in all, `error` or `kill` in the second epoch.

    With `memory` it has none free for images. With `lost` it cannot read the first image, with `disk` none at all.
    """
    import mgil.datasets.batches.stores
    from mgil.datasets.batches.stores import TileDecoder
    from mgil.engine.distributed import rank
    from mgil.tasks.detect.aligned_loss import AlignedLoss
    from tests.tasks.toy.network import ToyLoss

    if "random" in fault:
        draw_in_loss()
        fault = fault.removeprefix("random").strip("-")
    if rank() != 1 or not fault:
        return
    if fault in ("lost", "disk"):
        decode = TileDecoder.decode_into

        def decode_into(self: Any, index: int, tile: Any) -> str | None:
            if index in self.skipped or (fault == "lost" and index):
                return decode(self, index, tile)
            tile[...] = 114
            return f"image {index} is lost"

        TileDecoder.decode_into = decode_into  # type: ignore[method-assign]
        return
    if fault == "memory":
        mgil.datasets.batches.stores.free_ram_bytes = lambda: 0
        return
    for kind in (AlignedLoss, ToyLoss):
        spoil_loss(kind, fault)


def spoil_loss(kind: Any, fault: str) -> None:
    """Make a class of losses fail, as `spoil` says."""
    original, calls = kind.__call__, []

    def loss(self: Any, raws: Any, targets: Any) -> Any:
        calls.append(fault)
        if fault == "error" and len(calls) == 3:
            raise ValueError("a batch that rank 1 alone finds bad")
        if fault == "bug" and len(calls) == 3:
            raise KeyError("a bug in rank 1 alone")
        if fault == "kill" and len(calls) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        total, terms = original(self, raws, targets)
        bad = fault == "diverged" or (fault == "nan" and len(calls) == 2)
        return (total * float("nan"), terms * float("nan")) if bad else (total, terms)

    kind.__call__ = loss


def draw_in_loss() -> None:
    """Weigh every loss with a random number, as dropout would change it."""
    import torch

    from mgil.tasks.detect.aligned_loss import AlignedLoss

    original = AlignedLoss.__call__

    def loss(self: Any, raws: Any, targets: Any) -> Any:
        total, terms = original(self, raws, targets)
        weight = 0.5 + torch.rand(())
        return total * weight, terms * weight

    AlignedLoss.__call__ = loss  # type: ignore[method-assign]


def note_weights(path: Path) -> None:
    """Write a line into a file after each epoch: a digest of this process's weights and momenta."""
    from mgil.engine.training.trainer import Trainer

    original = Trainer.train_epoch

    def train_epoch(self: Trainer, epoch: int, title: str | None = None) -> Any:
        losses = original(self, epoch, title)
        digest = hashlib.sha256()
        for parameter in self.weight_step.parameters:  # those that are trained
            digest.update(parameter.detach().contiguous().numpy().tobytes())
            digest.update(self.optimizer.state[parameter]["momentum_buffer"].contiguous().numpy().tobytes())
        with path.open("a") as file:
            file.write(digest.hexdigest() + "\n")
        return losses

    Trainer.train_epoch = train_epoch  # type: ignore[method-assign]


def run_rank(number: int, port: int, options: dict[str, Any], fault: str, folder: Path) -> NoReturn:
    """One process of two, as torchrun would start it."""
    os.environ |= {
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_RUN_ID": "test",
    }
    for name, descriptor in (("said", 1), ("errors", 2)):
        os.dup2(os.open(folder / f"{name}{number}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), descriptor)
    from mgil.engine.cli import run_cli
    from mgil.engine.training.config import config_from_dict
    from mgil.engine.training.run import run_train
    from tests.tasks import toy

    toy.enter()
    spoil(fault)
    note_weights(folder / f"weights{number}")
    code = 0
    try:
        run_cli(lambda: run_train(config_from_dict(options)) and None)
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def launch(options: dict[str, Any], fault: str, folder: Path) -> Outcome:
    """Fork two processes and wait for them."""
    from torch.distributed import TCPStore

    port = free_port()
    for old in folder.iterdir():
        old.unlink()
    processes = [os.fork() or run_rank(number, port, options, fault, folder) for number in range(2)]
    store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    codes = [0, 0]
    ends = []
    for _ in processes:
        process, status = os.wait()
        codes[processes.index(process)] = os.waitstatus_to_exitcode(status)
        ends.append(time.monotonic())
    del store
    texts = {
        name: [
            (folder / f"{name}{number}").read_text() if (folder / f"{name}{number}").exists() else ""
            for number in range(2)
        ]
        for name in ("said", "errors", "weights")
    }
    return Outcome(
        codes, texts["said"], texts["errors"], [text.split() for text in texts["weights"]], ends[1] - ends[0]
    )


def main() -> None:
    if "WORLD_SIZE" in os.environ:
        from mgil.engine.cli import run_cli
        from train import main as train

        spoil(os.environ["FAULT"])
        run_cli(train)
        return
    for module in ("mgil.engine.training.run", "torch._dynamo", "torch.utils.tensorboard", "torchvision.ops"):
        with suppress(ModuleNotFoundError):  # TensorBoard need not be there
            import_module(module)  # what a training imports, before the forks

    for line in sys.stdin:
        print(json.dumps(vars(launch(*json.loads(line), Path(os.environ["RANKS_FOLDER"])))), flush=True)


if __name__ == "__main__":
    main()
