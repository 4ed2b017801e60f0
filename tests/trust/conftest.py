"""Every test of faults keeps to folders of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mgil.datasets.reading.samples import Samples
from tests.engine.tiny import Playground
from tests.trust.ranks import Launcher
from tests.trust.spoiling import twelve_batches


@pytest.fixture(autouse=True, scope="module")
def _private(private_cache: None) -> None:
    """Use the cache of the module in all its tests."""


@pytest.fixture(scope="module")
def samples(private_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Twelve batches to spoil."""
    return twelve_batches(tmp_path_factory.mktemp("numbers"))


@pytest.fixture(scope="module")
def playground(tmp_path_factory: pytest.TempPathFactory) -> Playground:
    """A small data set with its options."""
    return Playground(tmp_path_factory.mktemp("playground") / "there")


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """Starts trainings of several processes."""
    launcher = Launcher(tmp_path_factory.mktemp("ranks"))
    yield launcher
    launcher.close()
