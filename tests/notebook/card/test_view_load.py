"""What the live card costs while many rows go by as fast as they can.

The figures are printed (`pytest -s`); asserted are only counts and bytes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.notebook.kernels import Cell, Kernel
from tests.server import MessagesServer

ROWS = int(os.environ.get("ONDINE_ROWS", "10000"))
# Beside the run: how late the loop is, and how long it draws, in seconds of this thread's CPU.
METER = f"""
import asyncio, time, pandas as pd
from ondine_nb.notebook.card.view import WidgetObserver
frame = pd.DataFrame({{'text': [f'text {{at % 2000}} <b>' for at in range({ROWS})],
                       'at': range({ROWS})}})
lags, drawn = [], []
redraw = WidgetObserver.redraw
def timed(self):
    begun = time.thread_time()
    redraw(self)
    drawn.append(time.thread_time() - begun)
WidgetObserver.redraw = timed
async def watch_lag():
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(0.001)
        lags.append(time.perf_counter() - begun - 0.001)
watching = asyncio.get_running_loop().create_task(watch_lag())
"""


def updates(cell: Cell) -> list[int]:
    """The bytes of each update of the card."""
    states = [it["data"].get("state", {}) for it in cell.of_type("comm_msg")]
    return [len(json.dumps(it).encode()) for it in states if "ondine-run" in it.get("value", "")]


def bytes_of(cell: Cell) -> int:
    """Of all comm messages, with what is around them."""
    kinds = ("comm_msg", "comm_open", "comm_close")
    sent: list[Any] = [it for it in cell.messages if it["msg_type"] in kinds]
    return sum(len(json.dumps(it, default=str).encode()) for it in sent)


@pytest.fixture
def kernel(tmp_path: Path) -> Any:
    with Kernel(tmp_path) as kernel:
        yield kernel


def test_many_rows_at_full_speed_send_few_and_small_updates(kernel: Kernel) -> None:
    with MessagesServer() as server:
        kernel.run(METER)
        for out in ("fresh", "replayed"):
            kernel.run("lags.clear(); drawn.clear()")
            line = f"%%ondine {out} -i frame --base-url {server.url}"
            ended = kernel.run(f"{line}\nTell {{text}}")
            assert ended.card["done"] == str(ROWS)
            sent, total = updates(ended), bytes_of(ended)
            seconds = kernel.value(f"{out}_run.context.duration")
            late = kernel.value("sorted(lags)[len(lags) * 99 // 100]")
            cpu = kernel.value("sum(drawn)")
            print(
                f"\n{out}: {ROWS / seconds:,.0f} rows/s in {seconds:.2f} s, {len(sent)} updates, "
                f"{sum(sent) / seconds / 1000:.1f} kB/s ({total:,} bytes of comms in all), "
                f"lag p99 {late * 1000:.1f} ms, drawing {100 * cpu / seconds:.1f} % of a core"
            )
            assert len(sent) <= 10 * seconds + 3
            # The first card, and the last ones of the run's end, are beyond the even flow.
            assert sum(sent) <= 20_000 * seconds + 15_000
