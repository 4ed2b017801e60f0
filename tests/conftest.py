"""Fixtures and settings shared by every room's tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import pytest
import torch

if TYPE_CHECKING:
    from tests.engine.tiny import Playground

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_ENVIRONMENT = "MGIL_SHARED"
# Their tests start programs, train or export: together some minutes. `make quick` runs the others.
SLOW = (
    *("trust", "benchmarks", "browser", "engine/export", "engine/runtimes", "engine/sources", "engine/training"),
    *("engine/evaluation/test_val_cli.py", "engine/prediction/test_detect_cli.py", "engine/test_sets_to_be_made.py"),
    *("block/test_runtimes.py", "files/test_written_files.py", "files/test_fonts.py", "networks/test_architectures.py"),
    *("tasks/detect/test_official_coco128.py", "tasks/detect/test_aligned_loss.py", "tasks/test_toy.py"),
    *(
        "test_installed.py",
        "datasets/batches/test_loader.py",
        "datasets/reading/test_digits.py",
        "engine/weights/test_checkpoints.py",
    ),
)

matplotlib.use("Agg")
# The tests are many small tensors: a second thread only waits for the first, and on a busy machine for a long time.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # and so in processes that tests start
# Without AMX, `--amp auto` is float32 on every CPU that tests run on; those of bfloat16 ask for it.
os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE_BF16"
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # started in the background of a shell; tests send Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow, and skip what needs a GPU where there is none."""
    slow = tuple(str(REPOSITORY / "tests" / place) for place in SLOW)
    for item in items:
        if str(item.path).startswith(slow):
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("cuda") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Give every test the same random start and leave no trace of it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Label caches and made data sets of a module's tests go into a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MGIL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def toy_task() -> Iterator[None]:
    """The toy is a task that this process knows, for the tests of a module."""
    from mgil.tasks import registry
    from tests.tasks import toy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_PACKAGES", dict(registry._PACKAGES))
        toy.enter()
        yield


@pytest.fixture(scope="module")
def ground(private_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Playground:
    """A tiny set and a tiny model to train."""
    from tests.engine.tiny import Playground  # not for the tests of rooms that engine stands on

    return Playground(tmp_path_factory.mktemp("ground"))


def _shared(relative: str) -> Path:
    """Return a file or folder of the optional material next to the checkout, or skip the test."""
    root = Path(os.environ.get(SHARED_ENVIRONMENT, REPOSITORY.parent / "shared"))
    path = root / relative
    if not path.exists():
        pytest.skip(f"{path} is not there; set {SHARED_ENVIRONMENT} to the folder that holds {relative}")
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data sets."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """Folder of official weights."""
    return _shared("weights")


@pytest.fixture(scope="session")
def official_weights() -> Path:
    """The official YOLOv5n v7.0 checkpoint."""
    return _shared("weights/yolov5n-v7.0.pt")
