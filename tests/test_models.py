"""The values: documented names and defaults, percentages, tokens without overlap, frames out."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.models import (
    CheckpointInfo,
    CostEstimate,
    ExecutionResult,
    ProcessingStats,
    Prompt,
    Usage,
    ValidationResult,
)

counts = st.integers(0, 10**9)
usages = st.builds(Usage, counts, counts, counts, counts)


@dataclass(frozen=True)
class Picture:
    """A part of a prompt that isn't text."""

    key_bytes: bytes
    kind: str = "image"
    size: int = 500
    text: str = "[image]"


pictures = st.builds(Picture, st.binary(), st.sampled_from(["image", "document"]))
parts = st.lists(st.text() | pictures, max_size=5)
DATA = {"a": [1, 2], "b": ["x", None]}


def stats(total: int = 4, done: int = 4, failed: int = 0, skipped: int = 0) -> ProcessingStats:
    return ProcessingStats(total, done, failed, skipped, 1.0, 4.0)


def result(data: Any = None, **changes: Any) -> ExecutionResult:
    given_ = {"metrics": stats(), "costs": CostEstimate(Decimal(1), 3, 2, 1, 4), **changes}
    return ExecutionResult(data, **given_)


def test_the_documented_defaults() -> None:
    assert stats().stage_durations == {}
    costs = CostEstimate(Decimal(1), 3, 2, 1, rows=4)
    assert (costs.breakdown_by_stage, costs.confidence) == ({}, "estimate")
    fresh = result()
    assert (fresh.errors, fresh.end_time, fresh.success, fresh.metadata) == ([], None, True, {})
    assert isinstance(fresh.execution_id, UUID)
    assert isinstance(fresh.start_time, datetime)
    assert fresh.execution_id != result().execution_id
    info = CheckpointInfo(fresh.execution_id, "p", 1, 2, fresh.start_time, 3)
    assert (info.row_index, info.stage_index, info.size_bytes) == (1, 2, 3)


def test_duration_is_in_seconds_and_0_while_there_is_no_end() -> None:
    start = datetime(2026, 1, 1)
    assert result(start_time=start).duration == 0.0
    assert result(start_time=start, end_time=start + timedelta(seconds=90)).duration == 90.0


@pytest.mark.parametrize(
    ("metrics", "rate"), [(stats(0, 0), 0.0), (stats(4, 3, 1), 25.0), (stats(4, 0, 4), 100.0)]
)
def test_error_rate_is_in_percent(metrics: ProcessingStats, rate: float) -> None:
    assert result(metrics=metrics).error_rate == rate


def test_complete_means_ended_with_an_outcome_for_every_row() -> None:
    end = datetime(2026, 1, 1)
    assert result(metrics=stats(4, 2, 1, 1), end_time=end).is_complete
    assert not result(metrics=stats(4, 2, 1, 0), end_time=end).is_complete
    assert not result(metrics=stats(4, 4)).is_complete


@pytest.mark.parametrize(
    "frame", [pd.DataFrame(DATA), pl.DataFrame(DATA)], ids=["pandas", "polars"]
)
def test_data_goes_out_as_pandas_polars_and_list(frame: Any) -> None:
    held = result(frame)
    assert held.to_pandas()["a"].tolist() == [1, 2]
    assert held.to_polars()["b"].to_list() == ["x", None]
    rows = held.to_list()
    assert [row["a"] for row in rows] == [1, 2]
    assert rows[0] == {"a": 1, "b": "x"}


def test_a_streams_result_without_data_goes_out_empty() -> None:
    assert result().to_list() == []
    assert len(result().to_pandas()) == len(result().to_polars()) == 0


def test_a_native_frame_is_given_as_it_is() -> None:
    pandas, polars = pd.DataFrame(DATA), pl.DataFrame(DATA)
    assert result(pandas).to_pandas() is pandas
    assert result(polars).to_polars() is polars


@given(usages, usages)
def test_usages_add_up_kind_by_kind(one: Usage, other: Usage) -> None:
    both = one + other
    assert both.total_tokens == one.total_tokens + other.total_tokens
    assert both.prompt_tokens + both.output_tokens == both.total_tokens
    assert both == other + one


@pytest.mark.parametrize(
    ("message", "usage"),
    [
        ({}, Usage(known=False)),
        ({"usage": None}, Usage(known=False)),
        ({"usage": {"input_tokens": 3, "output_tokens": None}}, Usage(known=False)),
        (
            {
                "usage": {
                    "input_tokens": 1,
                    "output_tokens": 2,
                    "cache_read_input_tokens": 3,
                    "cache_creation_input_tokens": 4,
                }
            },
            Usage(1, 2, 3, 4),
        ),
    ],
)
def test_usage_of_a_message(message: dict[str, Any], usage: Usage) -> None:
    assert Usage.of_message(message) == usage


def test_a_verdict_with_an_error_is_not_valid_any_more() -> None:
    verdict = ValidationResult(True)
    verdict.add_warning("w")
    assert verdict.is_valid
    verdict.add_error("e")
    assert (verdict.is_valid, verdict.errors, verdict.warnings) == (False, ["e"], ["w"])


def test_a_result_shows_itself_in_one_line_without_its_frame() -> None:
    frame = pd.DataFrame({"text": ["secret"] * 3})
    shown = repr(result(frame, metrics=stats(4, 2, 1, 1)))
    assert shown == "<ExecutionResult: 2 of 4 rows, 1 failed, 1 skipped, $1>"
    unpriced = result(costs=CostEstimate(None, 3, 2, 1, 4))
    assert repr(unpriced).endswith("price unknown>")


@given(st.text())
def test_a_prompt_of_one_text_has_its_utf_8_as_key_and_size(text: str) -> None:
    prompt, encoded = Prompt(text), text.encode("utf-8", "replace")
    assert (prompt.key_bytes, prompt.size, prompt.text) == (encoded, len(encoded), text)
    assert (prompt.parts, prompt.is_text, str(prompt)) == ((text,), True, text)


@given(parts, parts)
@pytest.mark.slow
def test_prompts_have_the_same_key_only_if_they_are_the_same(
    one: list[Any], two: list[Any]
) -> None:
    first, second = Prompt(*one), Prompt(*two)
    assert (first.key_bytes == second.key_bytes) == (first == second)


@given(parts)
def test_no_text_has_the_key_of_a_prompt_with_other_parts(made: list[Any]) -> None:
    prompt = Prompt(*made)
    as_text = Prompt(prompt.key_bytes.decode("utf-8", "replace"))
    assert prompt.is_text or prompt.key_bytes != as_text.key_bytes
    assert prompt.is_text == all(isinstance(part, str) for part in made)


@given(parts)
def test_neighbouring_texts_are_one_part_and_size_and_text_count_them_all(made: list[Any]) -> None:
    prompt = Prompt(*made)
    kinds = [isinstance(part, str) for part in prompt.parts]
    assert (True, True) not in pairwise(kinds)
    whole = "".join(part if isinstance(part, str) else part.text for part in made)
    others = [part for part in made if not isinstance(part, str)]
    assert prompt.text == whole
    texts = "".join(part for part in made if isinstance(part, str))
    assert prompt.size == len(texts.encode("utf-8", "replace")) + 500 * len(others)


@given(parts)
def test_a_prompt_travels_between_processes(made: list[Any]) -> None:
    prompt = Prompt(*made)
    came = pickle.loads(pickle.dumps(prompt))
    assert (came, hash(came), came.key_bytes) == (prompt, hash(prompt), prompt.key_bytes)


def test_a_prompt_does_not_change() -> None:
    with pytest.raises(AttributeError, match="make another one"):
        Prompt("a").text = "b"
