"""Judging in a thread: the same results in the same order, and errors and Ctrl-C reach the user."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from mgil.datasets.batches.batch import EvalBatch
from mgil.datasets.batches.decode import decode_resized
from mgil.engine.evaluation.config import ValConfig
from mgil.engine.evaluation.evaluate import evaluate
from mgil.engine.evaluation.finisher import has_idle_core, one_core_thread
from mgil.engine.evaluation.run import run_val
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.networks.detector import build_model
from tests.datasets.scenes import smooth_image, write_image
from tests.engine.evaluation.test_val_cli import TINY

BATCHES = [
    EvalBatch(torch.full((2, 3, 4, 4), n, dtype=torch.uint8), torch.zeros(0, 6), np.array([n]), *np.ones((2, 2, 2)))
    for n in range(4)
]
WAIT = 5.0  # seconds, of which a good run takes none


class Log:
    """A network and a judge that note who did what: (what, number of the batch, in the main thread)."""

    def __init__(self, breaks: str = "", at: int = 0, error: type[BaseException] = ArithmeticError) -> None:
        self.breaks, self.at, self.error = breaks, at, error
        self.events: list[tuple[str, int, bool]] = []
        self.next_forward = [threading.Event() for _ in range(len(BATCHES) + 1)]
        self.hold = 0.0  # seconds that finishing a batch waits at most for the network's next

    def note(self, what: str, number: int) -> None:
        self.events.append((what, number, threading.current_thread() is threading.main_thread()))
        if (what, number) == (self.breaks, self.at):
            raise self.error(f"{what} {number}")

    def forward(self, images: torch.Tensor, with_loss: bool) -> tuple[torch.Tensor, None]:
        number = round(float(images.flatten()[0]) * 255)
        self.next_forward[number].set()
        self.note("forward", number)
        return images.clone(), None

    def finish(self, predictions: torch.Tensor) -> int:
        number = round(float(predictions.flatten()[0]) * 255)
        self.next_forward[number + 1].wait(self.hold)
        assert not torch.is_grad_enabled()
        self.note("finish", number)
        return number

    def add(self, batch: EvalBatch, found: int) -> None:
        assert batch.indices.tolist() == [found]
        self.note("add", found)

    def scores(self, skipped: Any) -> str:
        self.note("scores", len(BATCHES))
        return "scores"

    def run(self, alone: bool = False) -> Any:
        return evaluate(torch.nn.Conv2d(3, 3, 1).train(), BATCHES, self, alone=alone)


def idle(monkeypatch: pytest.MonkeyPatch, core: bool) -> None:
    monkeypatch.setattr("mgil.engine.evaluation.finisher.has_idle_core", lambda: core)


@pytest.mark.parametrize("core", [False, True])
def test_every_batch_is_judged_once_and_in_order(monkeypatch: pytest.MonkeyPatch, core: bool) -> None:
    idle(monkeypatch, core)
    log = Log()
    assert log.run().scores == "scores"
    for what in ("forward", "finish", "add"):
        numbers, in_main = zip(*((number, main) for name, number, main in log.events if name == what), strict=True)
        assert numbers == (0, 1, 2, 3) and set(in_main) == {what == "forward"}
    assert log.events[-1] == ("scores", 4, True)


def test_the_network_waits_for_the_judge_where_no_core_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    idle(monkeypatch, False)
    log = Log()
    log.hold = 0.02
    log.run()
    assert [name for name, *_ in log.events] == ["forward", "finish", "add"] * 4 + ["scores"]


def test_the_network_goes_on_beside_the_judge_where_a_core_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    idle(monkeypatch, True)
    log = Log()
    log.hold = WAIT
    log.next_forward[-1].set()
    log.run()
    places = {event[:2]: place for place, event in enumerate(log.events)}
    assert all(places["forward", number + 1] < places["finish", number] for number in range(3))
    assert all(places["add", number] < places["forward", number + 2] for number in range(2))  # and waits no longer


def test_times_alone_are_taken_without_threads() -> None:
    log = Log()
    log.run(alone=True)
    assert [event[:2] for event in log.events[:6]] == [(w, n) for n in (0, 1) for w in ("forward", "finish", "add")]
    assert all(main for *_, main in log.events)


@pytest.mark.parametrize("core", [False, True])
@pytest.mark.parametrize("what", ["forward", "finish", "add"])
@pytest.mark.parametrize("at", [0, 3])
@pytest.mark.parametrize("error", [ArithmeticError, KeyboardInterrupt])
def test_an_error_reaches_the_caller(
    monkeypatch: pytest.MonkeyPatch, what: str, at: int, core: bool, error: type[BaseException]
) -> None:
    idle(monkeypatch, core)
    log = Log(what, at, error)
    model = torch.nn.Conv2d(3, 3, 1).train()
    before = threading.active_count()
    with pytest.raises(error, match=f"{what} {at}"):
        evaluate(model, BATCHES, log)
    assert model.training and threading.active_count() == before
    assert max(number for name, number, _ in log.events if name == what) == at  # no batch after it was judged
    assert "scores" not in {name for name, *_ in log.events}


def test_a_core_is_idle_where_torch_has_fewer_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    for cores, expected in ({0}, False), ({1, 3}, False), ({0, 1, 5}, True):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: cores, raising=False)
        assert has_idle_core() is expected
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert has_idle_core()


def test_a_thread_beside_the_network_computes_with_one_core() -> None:
    """And leaves the number of all others as it was, of threads to come too."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with one_core_thread() as executor:
            work = torch.ones(1 << 17)
            sums = executor.map(lambda _: (float((work * 2).sum()), torch.get_num_threads()), range(2))
            assert list(sums) == [(float(1 << 18), 1)] * 2
        with ThreadPoolExecutor(1) as executor:
            assert executor.submit(torch.get_num_threads).result() == torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("options", "reduced", "alone"), [({}, False, False), ({"reduced_jpeg": True, "task": "speed"}, True, True)]
)
def test_flags_reach_the_loader_and_the_evaluation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict, reduced: bool, alone: bool
) -> None:
    """--reduced-jpeg shows the network what training sees of large JPEGs; without it they are decoded in full."""
    rng = np.random.default_rng(0)
    picture = np.clip(smooth_image(rng, 256, 256) + rng.normal(0, 25, (256, 256, 3)), 0, 255).astype(np.uint8)
    (tmp_path / "images").mkdir()
    path = write_image(tmp_path / "images" / "1.jpg", picture)
    (tmp_path / "d.yaml").write_text("train: images\nval: images\nnames: [a, b, c]\n")
    weights = tmp_path / "tiny.pt"
    save_checkpoint(weights, build_model(TINY, names=("a", "b", "c"), imgsz=64), {})

    class Caught(Exception):
        pass

    def caught(_model: Any, loader: Any, _judge: Any, **options: Any) -> None:
        assert options["alone"] is alone
        (batch,) = loader
        raise Caught(batch.images[0].numpy().transpose(1, 2, 0))

    monkeypatch.setattr("mgil.engine.evaluation.run.evaluate", caught)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fields: dict[str, Any] = {"project": str(tmp_path / "runs"), "device": "cpu", **options}
    with pytest.raises(Caught) as seen:
        run_val(ValConfig((str(weights),), str(tmp_path / "d.yaml"), imgsz=(64,), **fields), lambda _: None)
    full, half = (decode_resized(path, 64, reduced=value)[0] for value in (False, True))
    assert np.abs(full.astype(int) - half).max() > 3  # or the test would say nothing
    np.testing.assert_array_equal(seen.value.args[0], half if reduced else full)
    expected = cv2.imread(path, cv2.IMREAD_REDUCED_COLOR_2 if reduced else cv2.IMREAD_COLOR)[..., ::-1]
    expected = cv2.resize(expected, (64, 64), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(seen.value.args[0], expected)
