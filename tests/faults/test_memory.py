"""A stream's memory is its window, not its length: measured in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench.stream import write_input

MOST = 350  # MB; most of it libraries
GROWTH = 20  # MB in 50,000 rows, allocators being as they are: 0.4 kB for each
AGAIN = 25  # MB, where the store's pages are read too

SCRIPT = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from tests.bench.stream import measure

folder, rows = Path(sys.argv[1]), int(sys.argv[2])
figures = measure(folder, rows, [20_000, rows], concurrency=32)
print(json.dumps([asdict(figure) for figure in figures]))
"""


def figures(folder: Path, rows: int) -> Any:
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(rows)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(said.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stream")


@pytest.fixture(scope="module")
def streamed(folder: Path) -> Any:
    """The figures of a run whose answers are all in the journal of `folder` since."""
    return figures(folder, 70_000)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_stream_is_flat(streamed: Any) -> None:
    early, *_, last = streamed
    assert last["peak"] < MOST
    assert last["peak"] - early["peak"] < GROWTH


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_so_is_that_of_the_next_run_which_has_all_answers_in_the_journal(
    streamed: Any, folder: Path
) -> None:
    write_input(folder / "in.parquet", 40_000)  # the first of them
    again = figures(folder, 40_000)
    assert again[-1]["peak"] < MOST
    assert again[-1]["peak"] - again[0]["peak"] < AGAIN
