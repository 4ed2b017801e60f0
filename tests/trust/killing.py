"""Training in processes that are killed (SIGKILL) at a chosen moment; also the program that those processes run.

Importing PyTorch takes seconds, so one process does it once (`Workshop`), and forks a fresh one for every training.
"""

from __future__ import annotations

import io
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Kill:
    """A moment to be killed at.

    Attributes:
        at: `step` (a batch begins), `validation`, `save` (half of a checkpoint is written), `before` and `after`
            (the renaming of a file), `line` (the run says something).
        what: name of the file, or start of the line.
        count: the how many-th time.
        delay_s: the kill comes from outside, so much later, wherever the run is by then; None: at once, from inside.
    """

    at: str
    what: str = ""
    count: int = 1
    delay_s: float | None = None


@dataclass(frozen=True)
class Outcome:
    """How a training ended: `killed`, or its exit code; and what it said."""

    killed: bool
    code: int
    lines: list[str]
    error: str
    group: int  # process group of the training and its workers


class Workshop:
    """Starts trainings, one at a time."""

    def __init__(self, cache: Path) -> None:
        environment = os.environ | {"MGIL_CACHE": str(cache), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def train(
        self, options: dict[str, Any], kill: Kill | None = None, *, flat: bool = False, scaled: bool = False
    ) -> Outcome:
        """Train with the options of a TrainConfig until the end, or until the kill.

        Args:
            options: Fields of the config.
            kill: The moment.
            flat: The fitness never rises.
            scaled: Gradients are scaled, as with float16 on a GPU, by a factor that doubles every third step.
        """
        assert self.process.stdin and self.process.stdout
        order = {"options": options, "kill": asdict(kill) if kill else None, "flat": flat, "scaled": scaled}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return Outcome(**json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(timeout=60)


def members(group: int) -> list[int]:
    """The living processes of a group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, own = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):  # it has just ended
            continue
        if state not in "ZX" and int(own) == group:
            found.append(int(folder.name))
    return found


def serve() -> None:
    """Read orders, one a line, and answer each with its outcome."""

    import mgil.engine.training.run  # noqa: F401 - what takes the time, before the forks
    from mgil.networks.detector import build_model
    from mgil.networks.profile import profile

    profile(build_model("yolov5n.yaml", num_classes=1, imgsz=32), (32, 32))  # imports much more
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    for line in sys.stdin:
        order = json.loads(line)
        said, signals = os.memfd_create("said"), os.pipe()
        child = os.fork()
        if not child:
            os.close(signals[0])
            _work(order, said, signals[1])
        os.close(signals[1])
        delay_s = (order["kill"] or {}).get("delay_s")
        if delay_s is not None and select.select([signals[0]], [], [], 60)[0] and os.read(signals[0], 1):
            signal.sigtimedwait({signal.SIGCHLD}, delay_s)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(signals[0])
        with os.fdopen(said, "rb") as file:
            file.seek(0)
            said_lines = file.read().decode().splitlines()
        lines = [line for line in said_lines if not line.startswith("error: ")]
        error = next((line for line in said_lines if line.startswith("error: ")), "")
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        outcome = Outcome(killed, -1 if killed else os.waitstatus_to_exitcode(status), lines, error, child)
        print(json.dumps(asdict(outcome)), flush=True)


def _work(order: dict[str, Any], said: int, signals: int) -> NoReturn:
    os.setsid()
    output = os.fdopen(said, "w", buffering=1)
    os.dup2(said, 1), os.dup2(said, 2)
    import mgil.engine.training.parts
    import mgil.engine.training.run
    from mgil.engine.training.config import config_from_dict
    from mgil.tasks.detect.scores import DetectScores
    from tests.tasks import toy

    toy.enter()
    if order["flat"]:
        DetectScores.fitness = property(lambda _scores: 0.25)  # type: ignore[method-assign, assignment]
    if order["scaled"]:
        mgil.engine.training.parts.precision_of = _scaled_precision
    report = _arm(Kill(**order["kill"]), signals, output) if order["kill"] else _printer(output)
    code = 0
    try:
        mgil.engine.training.run.run_train(config_from_dict(order["options"]), report)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=output)
        code = 1
    output.flush()
    os._exit(code)


def _scaled_precision(choice: str, device: Any, _resumed: bool, _report: Any) -> Any:
    import torch

    from mgil.engine.training.precision import Precision

    precision = Precision(choice, device)
    precision.scaler = torch.amp.GradScaler(device.type, init_scale=8.0, growth_interval=3)
    return precision


def _printer(output: Any) -> Callable[[str], None]:
    return lambda line: print(line, file=output)


def _arm(kill: Kill, signals: int, output: Any) -> Callable[[str], None]:
    """Put the kill where it belongs; returns the function that takes the run's lines."""
    import torch

    import mgil.engine.training.run
    import mgil.engine.training.state
    import mgil.engine.training.trainer

    passed, saving = 0, ""

    def die() -> None:
        if kill.delay_s is None:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        os.write(signals, b"x")

    def reached(at: str, what: str = "") -> bool:
        nonlocal passed
        passed += at == kill.at and what.startswith(kill.what)
        return at == kill.at and what.startswith(kill.what) and passed == kill.count

    def meet(at: str, what: str = "") -> None:
        if reached(at, what):
            die()

    rename, save, save_checkpoint = os.replace, torch.save, mgil.engine.training.state.save_checkpoint

    def replace(source: Any, target: Any) -> None:
        meet("before", Path(target).name)
        rename(source, target)
        meet("after", Path(target).name)

    def remember(path: Any, *arguments: Any, **options: Any) -> None:
        nonlocal saving
        saving = Path(path).name
        save_checkpoint(path, *arguments, **options)

    def half(content: Any, file: Any) -> None:
        if reached("save", saving):
            whole = io.BytesIO()
            save(content, whole)
            file.write(whole.getvalue()[: whole.tell() // 2])
            file.flush()
            die()
        save(content, file)

    def report(line: str) -> None:
        print(line, file=output)
        meet("line", line)

    os.replace, torch.save, mgil.engine.training.state.save_checkpoint = replace, half, remember
    mgil.engine.training.run.evaluate = _met("validation", mgil.engine.training.run.evaluate, meet)
    mgil.engine.training.trainer.Trainer._backward = _met("step", mgil.engine.training.trainer.Trainer._backward, meet)
    return report


def _met(at: str, function: Callable[..., Any], meet: Callable[[str], None]) -> Callable[..., Any]:
    """A function that is a place to be killed at."""

    def wrapper(*arguments: Any, **options: Any) -> Any:
        meet(at)
        return function(*arguments, **options)

    return wrapper


if __name__ == "__main__":
    serve()
