"""A stream's memory is its window, not its length: measured in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE

MOST = 350  # MB; most of it libraries
GROWTH = 25  # MB, allocators being as they are

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
        timeout=PATIENCE,
        check=True,
    )
    return json.loads(said.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_stream_is_flat(tmp_path: Path) -> None:
    early, *_, last = figures(tmp_path, 100_000)
    assert last["peak"] < MOST
    assert last["peak"] - early["peak"] < GROWTH


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_so_is_that_of_the_next_run_which_has_all_answers_in_the_journal(tmp_path: Path) -> None:
    figures(tmp_path, 40_000)
    again = figures(tmp_path, 40_000)
    assert again[-1]["peak"] < MOST
    assert again[-1]["peak"] - again[0]["peak"] < GROWTH
