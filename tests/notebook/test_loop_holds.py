"""Opening a view holds the notebook's loop for less than one walk over the rows would.

Both are measured by the processor's time of the loop's thread, one right after the other, so that
a slow machine or a busy one makes both longer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.server import MessagesServer

from .kernels import Kernel

# As if JupyterLab ran the cell; then every callback of the loop is timed by its own thread's time.
METER = """
import asyncio, time, pathlib, pandas as pd
from ondine_nb import panel
import ondine_nb.notebook.results.view as results_view
import ondine_nb.notebook.workbench.view as bench_view
bench_view.may_click = results_view.may_click = lambda: True
from tests.notebook.ended_runs import ended_run, reviews
frame = pd.DataFrame({'text': [f'text {at} of a review' for at in range(100_000)]})
run = ended_run(reviews(100_000), pathlib.Path('journal'))
def walk():
    begun = time.thread_time()
    frame.to_dict('records')
    return time.thread_time() - begun
held, run_it = [], asyncio.events.Handle._run
def timed(handle):
    begun = time.thread_time()
    run_it(handle)
    held.append(time.thread_time() - begun)
asyncio.events.Handle._run = timed
await asyncio.sleep(2)
held.clear()
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Any:
    with Kernel(tmp_path) as kernel:
        kernel.run(METER)
        yield kernel


def assert_held_less_than_by_a_walk(kernel: Kernel) -> None:
    kernel.run("longest = max(held)")
    kernel.run("shortest = min(walk() for _ in range(3))")
    assert kernel.value("longest < shortest"), kernel.value("(longest, shortest)")


def test_the_workbench_opens_over_100_000_rows_faster_than_a_walk_over_them(
    kernel: Kernel,
) -> None:
    with MessagesServer() as server:
        opened = kernel.run(f"bench = panel(frame, 'Judge {{text}}', base_url='{server.url}')")
        assert opened.status == "ok"
        assert_held_less_than_by_a_walk(kernel)
        kernel.run("await asyncio.sleep(1)")
        assert "100,000 rows" in kernel.value("bench.view.static()")


def test_the_results_are_searched_filtered_sorted_and_corrected_faster_than_by_a_walk_over_them(
    kernel: Kernel,
) -> None:
    opened = kernel.run("view = run.show()\nawait asyncio.to_thread(view.wait, 300)")
    assert opened.status == "ok", opened.traceback
    given = {"id": "1", "ask": "find", "given": {"needle": "the phone. (7", "place": 0, "step": 0}}
    kernel.run(f"view._hear({given})\nawait asyncio.to_thread(view.wait, 300)")
    kernel.wait("'1' in view._answered")
    asked = {
        "2": ("look", {"conditions": [{"text": "phone"}], "sort": "text", "names": ["text"]}),
        "3": ("look", {"plots": ["text", "why"], "sort": "why", "names": ["text", "why"]}),
        "4": ("edit", {"at": 7, "field": "sentiment", "held": 1}),  # labels are found by content
        "5": ("look", {"plots": ["sentiment", "review"], "names": ["text", "sentiment"]}),
    }
    for key, (what, told) in asked.items():
        kernel.run(f"view._hear({ {'id': key, 'ask': what, 'given': told} })")
        kernel.run("await asyncio.to_thread(view.wait, 300)")
        kernel.wait(f"'{key}' in view._answered")
        assert kernel.value(f"view._answered['{key}'].get('error', '')") == ""
    assert kernel.value("0 < view._answered['1']['ok']['hits'] < 100_000")
    assert_held_less_than_by_a_walk(kernel)
    assert kernel.value("len(view.selected)") == 100_000
    assert kernel.value("view.selected.sentiment.iloc[7]") == "negative"
