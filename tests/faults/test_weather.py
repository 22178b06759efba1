"""Thousands of rows in the weather that the engine is measured by."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import ondine_nb.errors
from ondine_nb.errors import RowError
from tests.asking import CHAT, MESSAGES, Api, Asker, echoes, statuses, texts
from tests.faults.test_faults import WEATHER
from tests.server import MessagesServer


@pytest.mark.parametrize(
    ("api", "rows"), [(MESSAGES, 5_000), (CHAT, 1_500)], ids=["messages", "chat"]
)
def test_each_row_ends_with_its_own_answer_or_a_named_error(
    tmp_path: Path, api: Api, rows: int
) -> None:
    """Nothing is misaligned, no good answer comes twice, and requests stay under 1.3 a row."""
    data = texts(rows).sample(frac=1, random_state=7)
    with MessagesServer(faults=WEATHER, latency=(0, 0.05)) as server:
        run = Asker(server, tmp_path, api).run(data, timeout=5)
        delivered = Counter(entry.prompt for entry in server.ledger.entries if entry.delivered)
        billed = api.billed(server)
    assert run.state == "done"
    kinds = [getattr(ondine_nb.errors, kind) for kind in run.errors["error_type"]]
    assert all(issubclass(kind, RowError) for kind in kinds)
    answered = [status == "answered" for status in statuses(run)]
    assert sum(answered) + len(kinds) == rows
    got = list(run.frame["response"])
    assert all(
        text == right if there else text != text
        for text, right, there in zip(got, echoes(data), answered, strict=True)
    )
    assert max(delivered.values()) == 1
    assert server.arrived / rows < 1.3
    assert run.cost is not None
    assert run.cost <= billed <= run.cost + run.context.metrics.possibly_billed
