"""Which tests of the suite run in one worker, and which of them begin first.

A worker has to itself whatever takes long to start: a JupyterLab with its browser, a cluster, the
fixtures of a file. So files are handed out whole, and some of them together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

__all__ = ["Groups", "group", "order", "parts"]

# Files that share what takes long to start; all others are a group each.
_TOGETHER = {
    "browser/test_card_in_lab.py": "browser 1",
    "browser/test_comparison.py": "browser 1",
    "browser/test_evidence.py": "browser 1",
    "browser/test_groups.py": "browser 1",
    "browser/test_review.py": "browser 1",
    "browser/test_run_in_lab.py": "browser 1",
    "data/test_dask.py": "dask",
    "pipeline/test_combinations.py": "dask",
    "faults/test_dask.py": "dask",
    "orchestration/executors/test_dask.py": "dask",
}
# Seconds, where they are many: what takes longest begins first. A browser with its JupyterLab takes
# a processor: there are two, and behind them stands what mostly waits.
_SECONDS = {
    **{"browser 1": 450, "browser 2": 450, "dask": 150},
    **{"faults/test_weather.py": 110, "faults/test_outage.py": 60, "faults/test_batches.py": 50},
    **{"faults/test_memory.py": 40, "faults/test_faults.py": 30, "faults/test_disk.py": 20},
    **{"notebook/test_demo.py": 60, "notebook/test_front_ends.py": 45},
    **{"notebook/test_kernel.py": 40, "notebook/workbench/test_panel.py": 30},
    **{"notebook/test_resume_in_kernel.py": 20, "notebook/test_loop_holds.py": 20},
    **{"docs/test_blocks.py": 50, "data/test_sinks.py": 40, "typing/test_typing.py": 30},
    **{"test_gallery.py": 60, "test_gallery_engine.py": 60, "test_bench.py": 20},
    **{"simulation/test_worlds.py": 30, "docs/test_site.py": 15},
}
_OF_OTHERS = {True: 5, False: 0}  # by whether they are slow


def parts(at: float) -> list[str]:
    """The folders and files of the suite, beginning `at` this share of them."""
    inside = [
        path
        for path in sorted(Path(__file__).parent.iterdir())
        if path.match("test_*.py") or (path.is_dir() and any(path.rglob("test_*.py")))
    ]
    first = int(at * len(inside))
    return [str(path) for path in inside[first:] + inside[:first]]


def group(file: str) -> str:
    """The group of a file, named as below `tests`: `prompts/test_schema.py`."""
    rest = "browser 2" if file.startswith("browser/") else file
    return _TOGETHER.get(file, rest)


def order(file: str, *, slow: bool) -> tuple[float, str, str]:
    """What files are sorted by: groups stay together, and what takes long comes first.

    Else a worker would be left alone with it at the end.
    """
    name = group(file)
    return -_SECONDS.get(name, _OF_OTHERS[slow]), name, file


class Groups(LoadScopeScheduling):  # type: ignore[misc]
    """Hands a group at a time to a worker, in the order of the tests.

    By the file's name: `--dist loadgroup` goes by a mark that it writes into the tests' ids, which
    pytest 9.2 doesn't let it, and then shares out single tests without a word.
    """

    def __init__(self, config: pytest.Config, log: Any) -> None:
        config.option.loadscopereorder = False  # the order is said here, not by numbers of tests
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid.split("::")[0].removeprefix("tests/"))
