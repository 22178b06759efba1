"""Row i of the result belongs to row i of the input, by every executor, in whatever order."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ondine_nb import Pipeline, Run
from ondine_nb.errors import RejectedRequestError
from ondine_nb.journal.journal import shared
from ondine_nb.providers import Reply
from tests.echo import Echo

TEXTS = st.none() | st.sampled_from(["a", "b", "bad 1", "bad 2", "a longer text", "c", "d", "e"])
KINDS = {
    "pandas": lambda texts: pd.DataFrame(
        {"text": pd.array(texts, "str"), "n": range(len(texts))}, index=[7] * len(texts)
    ),
    "polars": lambda texts: pl.DataFrame(
        {"text": texts, "n": range(len(texts))}, schema={"text": pl.String, "n": pl.Int64}
    ),
    "rows": lambda texts: ({"text": text, "n": n} for n, text in enumerate(texts)),
}


class Shuffling(Echo):
    """Answers in any order; texts with `bad` are refused by the API."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)

    async def send(self, prompt: str) -> Reply:
        for _ in range(self._random.randrange(12)):
            await asyncio.sleep(0)
        if "bad" in prompt:
            raise RejectedRequestError(f"won't take {prompt}")
        return await super().send(prompt)


def answer_to(text: str | None, n: int, with_n: bool) -> str | None:
    if "bad" in (text or "") or (text is None and not with_n):
        return None
    return f"{n}: {text or ''}" if with_n else f"Say {text}"


def run(data: Any, chunks: bool, folder: Path, provider: Echo, **options: Any) -> tuple[Any, Run]:
    prompt = options.pop("prompt")
    pipeline = Pipeline(data, prompt, provider=provider, journal=folder, **options)
    made = Run(pipeline, plan=pipeline.plan(streaming=chunks))
    if not chunks:
        return made.execute().data, made
    frames = list(made.stream())
    joined: Any = pd.concat if isinstance(frames[0], pd.DataFrame) else pl.concat
    return joined(frames), made


def cells(frame: Any, column: str) -> list[Any]:
    return [None if value is None or value != value else value for value in frame[column]]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=30),
    kind=st.sampled_from([*KINDS]),
    executor=st.sampled_from([None, "async", "sync", "streaming"]),
    chunks=st.booleans(),
    chunk_size=st.integers(1, 12),
    concurrency=st.integers(1, 9),
    with_n=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_row_i_belongs_to_row_i(
    texts: Sequence[str | None],
    kind: str,
    executor: str | None,
    chunks: bool,
    chunk_size: int,
    concurrency: int,
    with_n: bool,
    seed: int,
) -> None:
    streams = kind == "rows" or chunks or executor == "streaming"
    options: dict[str, Any] = {
        "prompt": "{n}: {text}" if with_n else "Say {text}",
        "executor": None if streams and executor != "streaming" else executor,
        "chunk_size": chunk_size,
        "concurrency": concurrency,
    }
    provider = Shuffling(seed)
    wanted = [answer_to(text, n, with_n) for n, text in enumerate(texts)]
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):  # the second time from the journal
            made = KINDS[kind](texts)
            frame, ended = run(made, chunks, Path(folder), provider, **options)
            assert cells(frame, "response") == wanted
            assert cells(frame, "n") == list(range(len(texts)))
            assert cells(frame, "text") == list(texts)
            if kind == "pandas":
                assert list(frame.index) == [7] * len(texts)
            refused = [n for n, text in enumerate(texts) if "bad" in (text or "")]
            assert sorted(ended.errors["row"]) == refused
            stats = ended.stats
            assert stats.total_rows == len(texts)
            skipped = 0 if with_n else texts.count(None)
            assert (stats.failed_rows, stats.skipped_rows) == (len(refused), skipped)
            assert stats.processed_rows == len(texts) - len(refused) - skipped
        shared(folder).close()
    asked = provider.asked or []
    assert len(asked) == len(set(asked)) == len({text for text in wanted if text})
