"""No test sees the developer's keys, writes a journal into the checkout, or leaves one open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ondine_nb import journal
from tests.server import MessagesServer


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The journal folder of the test; not there yet."""
    for name in [name for name in os.environ if name.startswith("ANTHROPIC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path / "no-profiles"))
    folder = tmp_path / "ondine-home"
    monkeypatch.setenv("ONDINE_HOME", str(folder))
    monkeypatch.setattr(journal, "_HOME", None)
    yield folder
    for (_, path), opened in list(journal._SHARED.items()):
        if path.is_relative_to(tmp_path):
            opened.close()


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
