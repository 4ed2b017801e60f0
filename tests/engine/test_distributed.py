"""Several processes, and choosing the device of each."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from mgil.datasets.reading.config import DataConfig
from mgil.engine.devices import select_device
from mgil.engine.distributed import from_main, is_main, mean_over_processes, process_group
from mgil.engine.training.config import TrainConfig
from mgil.engine.training.setup import resolved
from mgil.tasks.registry import task_named

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _private_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MGIL_CACHE", str(tmp_path / "cache"))
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def test_alone_nothing_is_exchanged() -> None:
    value = torch.ones(3)
    with process_group(torch.device("cpu")):
        assert not torch.distributed.is_initialized()
        assert is_main()
        assert mean_over_processes(value) is value
        assert from_main(value) is value


class OfTwo:
    """Stands for the library that connects processes."""

    DistError = torch.distributed.DistError

    def init_process_group(self, *_: Any, **__: Any) -> None:
        pass

    def destroy_process_group(self) -> None:
        pass


def test_the_interrupt_handler_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("mgil.engine.distributed.distributed", OfTwo())
    before = signal.getsignal(signal.SIGINT)
    with process_group(torch.device("cpu")):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(ArithmeticError), process_group(torch.device("cpu")):
        raise ArithmeticError
    assert signal.getsignal(signal.SIGINT) is before
    try:
        with pytest.raises(KeyboardInterrupt), process_group(torch.device("cpu")):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # the one that torchrun passes on comes later
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_group_can_be_joined_outside_the_main_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("mgil.engine.distributed.distributed", OfTwo())

    def join() -> str:
        with process_group(torch.device("cpu")):
            return "joined"

    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(join).result() == "joined"


def test_the_cpu() -> None:
    assert select_device("cpu") == torch.device("cpu")
    assert select_device(" CPU ") == torch.device("cpu")


def test_the_default_is_a_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert select_device("") == torch.device("cpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert select_device("") == torch.device("cuda", 0)


def test_gpus_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for text in ("1", "cuda:1", 1):
        assert select_device(text) == torch.device("cuda", 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="torchrun --nproc_per_node 2"):
        select_device("0,1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert select_device("1,0") == torch.device("cuda", 0)
    assert select_device("") == torch.device("cuda", 1)


@pytest.mark.parametrize("text", ["77", "0,77", "gpu", "0;1", "-1", ",", "cuda", "CUDA", "²"])
def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="--device"):
        select_device(text)


def test_a_batch_that_the_processes_cannot_share(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    data = DataConfig(tmp_path / "d.yaml", tmp_path, (str(folder),), (), (), names=("a",), category_ids=(1,))
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match="--batch-size 16 is not a multiple of the 3 processes"):
        resolved(TrainConfig(batch_size=16), data, task_named("detect"))
    assert resolved(TrainConfig(batch_size=15), data, task_named("detect")).batch_size == 15
    assert resolved(TrainConfig(batch_size=-1), data, task_named("detect")).batch_size == -1
