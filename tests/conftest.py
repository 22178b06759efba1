"""No test sees the developer's keys, writes a journal into the checkout, or leaves one open."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from ondine_nb import journal
from ondine_nb.providers import KNOWN
from tests.server import MessagesServer

# No test asserts a time, and hypothesis would: 200 ms an example, which a busy machine passes.
settings.register_profile("untimed", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=10_000)  # --hypothesis-profile
settings.load_profile("untimed")

_LONG = ("browser", "faults")
_LONG_TOO = ("test_demo.py", "test_front_ends.py", "test_resume_in_kernel.py")
# What `-m "not slow"` leaves out: tests with kernels, browsers, Dask's workers or processes that
# are killed, and all else of which a file takes more than ten seconds of CPU.
_SLOW_FOLDERS = {*_LONG, "bench", "typing"}
_SLOW_FILES = {
    *_LONG_TOO,
    "notebook/card/test_view_load.py",
    "notebook/test_dask_in_kernel.py",
    "notebook/test_kernel.py",
    "notebook/test_loop_holds.py",
    "notebook/workbench/test_panel.py",
    *("data/test_dask.py", "orchestration/executors/test_dask.py"),
    *("data/test_sinks.py", "journal/test_damage.py", "journal/test_locks.py"),
    *("journal/test_reload.py", "orchestration/test_resume.py"),
    *("docs/test_blocks.py", "docs/test_site.py", "test_readme.py"),
    *("providers/local/test_process.py", "simulation/test_rates.py", "simulation/test_worlds.py"),
    *("test_bench.py", "test_gallery.py", "test_gallery_engine.py", "test_release.py"),
}


def _is_slow(path: Path) -> bool:
    inside = path.relative_to(Path(__file__).parent)
    named = path.name in _SLOW_FILES or inside.as_posix() in _SLOW_FILES
    return named or not _SLOW_FOLDERS.isdisjoint(inside.parts)


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is slow is marked; files that take long come first, in turn from each folder of them.

    Else a worker would be left alone with them at the end; and browsers need the processor, where
    tests of faults mostly wait.
    """
    for item in items:
        if _is_slow(item.path):
            item.add_marker(pytest.mark.slow)
    order: dict[Path, tuple[int, int]] = {}
    seen = dict.fromkeys(_LONG, 0)
    for path in dict.fromkeys(item.path for item in items):
        folder = path.parent.name
        if folder in seen:
            seen[folder] += 1
            order[path] = (0, seen[folder])
        elif path.name in _LONG_TOO:
            order[path] = (1, 0)
        elif _is_slow(path):
            order[path] = (2, 0)
    items.sort(key=lambda item: order.get(item.path, (3, 0)))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The journal folder of the test; not there yet."""
    rows = {name for row in KNOWN.values() for name in (*row.keys, *row.needs, row.url_variable)}
    for name in [name for name in os.environ if name.startswith("ANTHROPIC_") or name in rows]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path / "no-profiles"))
    # A shell that an earlier test has made leaves its mark: what follows is a script again.
    monkeypatch.delattr(builtins, "__IPYTHON__", raising=False)
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
