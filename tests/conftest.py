"""No test sees the developer's keys, writes a journal into the checkout, or leaves one open."""

from __future__ import annotations

import builtins
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from ondine_nb import journal
from ondine_nb.providers import KNOWN
from tests.server import MessagesServer

# jsonschema would check IRIs by it, as nothing here does, and its grammar takes 1.7 s of CPU.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

# No test asserts a time, and hypothesis would: 200 ms an example, which a busy machine passes.
settings.register_profile("untimed", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=10_000)  # --hypothesis-profile
settings.load_profile("untimed")

_LONG = ("browser", "faults")
_LONG_TOO = ("test_demo.py", "test_front_ends.py", "test_resume_in_kernel.py")
# What `-m "not slow"` leaves out: tests with kernels, browsers, Dask's workers or processes that
# are killed, and all else of which a file takes more than ten seconds of CPU.
_SLOW_FOLDERS = {*_LONG, "bench", "forks", "typing"}
_SLOW_FILES = {
    *_LONG_TOO,
    "notebook/card/test_view_load.py",
    "notebook/results/test_live.py",
    "notebook/test_dask_in_kernel.py",
    "notebook/test_kernel.py",
    "notebook/test_loop_holds.py",
    "notebook/test_nightly.py",
    "notebook/workbench/test_panel.py",
    *("data/test_dask.py", "orchestration/executors/test_dask.py"),
    *("data/test_sinks.py", "journal/test_damage.py", "journal/test_locks.py"),
    *("journal/test_reload.py", "orchestration/test_resume.py"),
    *("pipeline/test_combinations.py", "pipeline/test_ledger.py", "pipeline/test_streams.py"),
    *("docs/test_blocks.py", "docs/test_site.py", "test_readme.py"),
    *("providers/local/test_process.py", "simulation/test_rates.py", "simulation/test_worlds.py"),
    *("test_bench.py", "test_gallery.py", "test_gallery_engine.py", "test_release.py"),
}


def _is_slow(path: Path) -> bool:
    inside = path.relative_to(Path(__file__).parent)
    named = path.name in _SLOW_FILES or inside.as_posix() in _SLOW_FILES
    return named or not _SLOW_FOLDERS.isdisjoint(inside.parts)


# Files that share what takes long to start, a JupyterLab with its browser or a cluster, run in one
# process of the suite each; all others by themselves.
_TOGETHER = {
    "browser/test_card_in_lab.py": "browser 1",
    "browser/test_next_steps.py": "browser 1",
    "browser/test_results.py": "browser 1",
    "browser/test_review.py": "browser 1",
    "data/test_dask.py": "dask",
    "pipeline/test_combinations.py": "dask",
    "faults/test_dask.py": "dask",
    "orchestration/executors/test_dask.py": "dask",
}


_SHARED = {*_TOGETHER.values(), "browser 2"}


def _group(path: Path) -> str:
    inside = path.relative_to(Path(__file__).parent)
    rest = "browser 2" if inside.parts[0] == "browser" else inside.as_posix()
    return _TOGETHER.get(inside.as_posix(), rest)


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is slow is marked, what is shared stands together, what takes long comes first.

    Else a worker would be left alone with it at the end; and what needs the processor runs beside
    tests of faults, which mostly wait.
    """
    order: dict[str, int] = {}
    for item in items:
        group = _group(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
        if slow := _is_slow(item.path):
            item.add_marker(pytest.mark.slow)
        if group not in order:
            long = item.path.parent.name in _LONG or item.path.name in _LONG_TOO
            shared = group in _SHARED
            order[group] = 0 if shared else 1 if long else 2 if slow else 3
    items.sort(key=lambda item: (order[group := _group(item.path)], group))


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


_cluster = contextlib.ExitStack()
_clusters: list[Any] = []


@pytest.fixture
def two_dask_workers() -> Any:
    """One cluster for all tests that need one: its processes take seconds to start."""
    from tests.dask_cluster import two_workers

    if not _clusters:
        _clusters.append(_cluster.enter_context(two_workers()))
    return _clusters[0]


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """It ends with the last of them: three idle processes take a tenth of a processor."""
    if nextitem is None or _group(item.path) != _group(nextitem.path):
        _clusters.clear()
        _cluster.close()
