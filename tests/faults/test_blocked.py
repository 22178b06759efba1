"""A notebook's cell holds the loop: answers that came meanwhile are taken, and not paid again."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from tests.asking import Asker, echoes, seen, statuses, texts
from tests.notebook.kernels import Kernel
from tests.server import MessagesServer


@pytest.mark.parametrize(("timeout", "stands"), [(4, 6), (60, 1)])
async def test_a_loop_that_stood_still_loses_no_answer(
    tmp_path: Path, timeout: int, stands: int
) -> None:
    """Even where it stood still for longer than a request may take."""
    with MessagesServer(latency=(0.1, 0.4)) as server:
        run = Asker(server, tmp_path).pipeline(texts(300), concurrency=60, timeout=timeout).start()
        await seen(lambda: run.context.done_rows > 60)
        for _ in range(2):
            time.sleep(stands)
            await seen(lambda before=run.context.done_rows: run.context.done_rows > before)  # type: ignore[misc]
        result = await run
    assert list(result.data["response"]) == echoes(texts(300))
    assert set(server.ledger.by_prompt().values()) == {1}
    assert (server.arrived, run.context.metrics.possibly_billed) == (300, 0)
    assert statuses(run) == ["answered"] * 300


async def test_an_answer_that_never_comes_still_times_out_after_a_block(tmp_path: Path) -> None:
    def plan(body: object, attempt: int) -> str | None:
        return "hang" if attempt == 1 else None

    with MessagesServer(plan=plan) as server:
        run = Asker(server, tmp_path).pipeline(texts(4), timeout=2).start()
        await seen(lambda: server.arrived == 4)
        time.sleep(3)
        await run
    assert list(run.rows["attempts"]) == [2] * 4


def test_a_cell_that_sleeps_beside_a_background_run_costs_nothing(tmp_path: Path) -> None:
    """As it is measured, with a shorter sleep, still longer than a request may take."""
    with MessagesServer(latency=(0.1, 0.6)) as server, Kernel(tmp_path / "home") as kernel:
        kernel.run("import pandas as pd, time")
        kernel.run("df = pd.DataFrame({'text': [f'text {n}' for n in range(600)]})")
        line = f"out -i df --background --concurrency 100 --timeout 4 --base-url {server.url}"
        assert kernel.run(f"%%ondine {line}\nTell: {{text}}").status == "ok"
        kernel.wait("out_run.context.done_rows > 100")
        assert kernel.run("time.sleep(8)").status == "ok"
        kernel.wait("out_run.state == 'done'")
        assert kernel.value("list(out['response'])") == echoes(texts(600))
    assert Counter(server.ledger.by_prompt().values()) == {1: 600}
