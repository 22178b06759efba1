"""Pictures in batches: cut at the bytes that a batch may hold, each answer its own picture's."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from ondine_nb.providers import BatchLimits
from ondine_nb.providers.anthropic.batches import MessageBatches
from ondine_nb.providers.openai.batches import ChatBatches
from ondine_nb.stages.batch import Batches
from ondine_nb.stages.batch import plan as batching
from ondine_nb.stages.batch.job import BatchPolicy
from tests.asking import CHAT, MESSAGES, Api, Asker
from tests.server import MessagesServer
from tests.server.batches import BatchRules

_DATA = re.compile(r"[A-Za-z0-9+/=]{400,}")


def told_of(data: str) -> str:
    return hashlib.sha256(data.encode()).hexdigest()[:16]


def answer(body: Mapping[str, Any]) -> str:
    """What is said of a picture, by the bytes that came."""
    found = _DATA.search(json.dumps(body))
    return "none" if found is None else told_of(found[0])


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(batches=BatchRules(delay=0.02), answer=answer) as running:
        yield running


@pytest.mark.parametrize("api", [MESSAGES, CHAT], ids=lambda api: api.name)
def test_batches_are_cut_at_their_bytes_and_a_file_that_is_gone_fails_its_row_alone(
    server: MessagesServer,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    api: Api,
) -> None:
    quick = BatchPolicy(first=0.02, longest=0.1, grace=0.3, patience=5)
    monkeypatch.setattr(batching, "PACE", quick)
    files = [tmp_path / f"noise {number}.png" for number in range(7)]
    for number, file in enumerate(files):
        Image.effect_noise((80, 80), 60 + number).save(file)
    of_three = 3 * (max(file.stat().st_size for file in files) * 4 // 3 + 1_000)
    for batches in (MessageBatches, ChatBatches):
        monkeypatch.setattr(batches, "limits", BatchLimits(100, of_three))
    told = [told_of(base64.b64encode(file.read_bytes()).decode()) for file in files]
    look_again = Batches._look_again

    async def after_a_while(self: Batches) -> None:
        files[3].unlink(missing_ok=True)
        await look_again(self)

    monkeypatch.setattr(Batches, "_look_again", after_a_while)
    rows = pd.DataFrame({"photo": list(map(str, files))})
    run = Asker(server, home, api).run(rows, "Which? {photo:image}", max_tokens=50, batch=True)
    assert run.state == "done"
    assert list(run.frame["response"].fillna("")) == [*told[:3], "", *told[4:]]
    assert list(run.errors["error_type"]) == ["MissingFileError"]
    held = [len(each.requests) for each in server.batches.made]
    assert (sum(held), max(held)) == (6, 3)
    assert all(entry.batch for entry in server.ledger.entries)
