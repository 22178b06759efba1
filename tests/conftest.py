"""No test sees the developer's keys, writes a journal into the checkout, or leaves one open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from ondine_nb import journal
from tests.server import MessagesServer

# No test asserts a time, and hypothesis would: 200 ms an example, which a busy machine passes.
settings.register_profile("untimed", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=10_000)  # --hypothesis-profile
settings.load_profile("untimed")

_LONG = ("browser", "faults")
_LONG_TOO = ("test_demo.py", "test_front_ends.py", "test_resume_in_kernel.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files whose tests take long come first, in turn from each folder of them.

    Else a worker would be left alone with them at the end; and browsers need the processor, where
    tests of faults mostly wait.
    """
    order: dict[Path, tuple[int, int]] = {}
    seen = dict.fromkeys(_LONG, 0)
    for path in dict.fromkeys(item.path for item in items):
        folder = path.parent.name
        if folder in seen:
            seen[folder] += 1
            order[path] = (0, seen[folder])
        elif path.name in _LONG_TOO:
            order[path] = (1, 0)
    items.sort(key=lambda item: order.get(item.path, (2, 0)))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The journal folder of the test; not there yet."""
    for name in [name for name in os.environ if name.startswith("ANTHROPIC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path / "no-profiles"))
    folder = tmp_path / "ondine-home"
    monkeypatch.setenv("ONDINE_HOME", str(folder))
    journal.use(None)
    yield folder
    journal.close_below(tmp_path)


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer() as running:
        yield running


@pytest.fixture(scope="session")
def two_dask_workers() -> Iterator[Any]:
    """One cluster for all tests that need one: its processes take seconds to start."""
    from tests.dask_cluster import two_workers

    with two_workers() as cluster:
        yield cluster
