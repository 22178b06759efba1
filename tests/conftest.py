"""No test sees the developer's keys, writes a journal into the checkout, or leaves one open."""

from __future__ import annotations

import builtins
import contextlib
import functools
import gc
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from ondine_nb import journal
from ondine_nb.providers import KNOWN
from tests import forks
from tests.server import MessagesServer
from tests.workers import Groups, group, order, parts

# jsonschema would check IRIs by it, as nothing here does, and its grammar takes 1.7 s of CPU.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

# No test asserts a time, and hypothesis would: 200 ms an example, which a busy machine passes.
settings.register_profile("untimed", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=10_000)  # --hypothesis-profile
settings.load_profile("untimed")

# What `-m "not slow"` leaves out: tests with kernels, browsers, Dask's workers or processes that
# are killed, and all else of which a file takes more than ten seconds of CPU.
_SLOW_FOLDERS = {"browser", "faults", "bench", "forks", "typing"}
_SLOW_FILES = {
    *("notebook/test_demo.py", "notebook/test_front_ends.py"),
    "notebook/test_resume_in_kernel.py",
    "notebook/card/test_view_load.py",
    "notebook/results/test_live.py",
    "notebook/test_dask_in_kernel.py",
    "notebook/test_kernel.py",
    "notebook/test_loop_holds.py",
    "notebook/test_nightly.py",
    "notebook/workbench/test_panel.py",
    *("data/test_dask.py", "orchestration/executors/test_dask.py"),
    *("data/test_doors.py", "data/test_open.py", "evaluation/evidence/test_finder.py"),
    *("data/test_sinks.py", "journal/test_damage.py", "journal/test_locks.py"),
    *("journal/test_reload.py", "orchestration/test_resume.py"),
    *("pipeline/test_combinations.py", "pipeline/test_ledger.py", "pipeline/test_streams.py"),
    *("docs/test_blocks.py", "docs/test_site.py", "test_readme.py"),
    *("providers/local/test_process.py", "providers/openai/test_llamacpp.py"),
    *("simulation/test_rates.py", "simulation/test_worlds.py"),
    *("test_bench.py", "test_gallery.py", "test_gallery_engine.py", "test_release.py"),
    "test_workers.py",
}


_NOTED = 2.0  # seconds of CPU of a test, from which on it is said that it isn't marked as slow


@functools.cache
def _is_slow(path: Path) -> bool:
    inside = _inside(path)
    return inside in _SLOW_FILES or not _SLOW_FOLDERS.isdisjoint(inside.split("/"))


def _inside(path: Path) -> str:
    return path.relative_to(Path(__file__).parent).as_posix()


def pytest_configure(config: pytest.Config) -> None:
    """Each worker of the whole suite begins to read it elsewhere.

    What is imported first is compiled, in a new clone half a minute of CPU, and kept: for others.
    """
    known = getattr(config, "workerinput", None)
    if known is None and config.getoption("numprocesses", None):
        forks.share()
    if known is not None and config.args == config.getini("testpaths"):
        at = int(known["workerid"].removeprefix("gw")) / known["workercount"]
        config.args = parts(at)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is collected stays: to look for garbage in it takes a fifth of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is slow is marked, what is shared stands together, what takes long comes first."""
    for item in items:
        if _is_slow(item.path) or "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: order(_inside(item.path), slow=_is_slow(item.path)))


@pytest.hookimpl(optionalhook=True)  # as a run without xdist has it not
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return Groups(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    begun = time.process_time()
    try:
        return (yield)
    finally:
        if (took := time.process_time() - begun) > _NOTED and not item.get_closest_marker("slow"):
            item.user_properties.append(("not slow", took))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names what the inner loop waits for; as it tells a time, nothing fails of it."""
    for report in terminalreporter.getreports("passed"):
        for name, took in getattr(report, "user_properties", ()):
            if name == "not slow":
                terminalreporter.write_line(
                    f"{report.nodeid}: {took:.1f} s of CPU, and not marked as slow in conftest.py"
                )


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
    if nextitem is None or group(_inside(item.path)) != group(_inside(nextitem.path)):
        _clusters.clear()
        _cluster.close()
