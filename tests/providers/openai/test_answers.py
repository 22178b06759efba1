"""A body of Chat Completions is read into our words, with what it is billed for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.errors import (
    CutAnswerError,
    EmptyAnswerError,
    JournalError,
    MalformedAnswerError,
    RefusalError,
    UnfinishedAnswerError,
)
from ondine_nb.models import UNKNOWN_USAGE, Usage
from ondine_nb.providers import Answer, capabilities, off_wire
from ondine_nb.providers.base import on_wire
from ondine_nb.providers.openai import OpenAIProvider
from ondine_nb.providers.openai.answers import error_in, read_chat, usage_of

USAGE = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}


def body(message: Any = None, reason: Any = "stop", usage: Any = USAGE, **more: Any) -> bytes:
    said = {"content": "hello", "role": "assistant", **(message or {})}
    choice = {"index": 0, "message": said, "finish_reason": reason}
    return json.dumps({"choices": [choice], "usage": usage, **more}).encode()


def test_an_answer_has_its_text_and_its_bill() -> None:
    assert read_chat(body()) == Answer("hello", "end_turn", Usage(10, 3), 1)


@pytest.mark.parametrize(
    ("message", "reason", "error"),
    [
        ({"refusal": "I can't."}, "stop", RefusalError),
        ({"content": None, "refusal": "I can't."}, "stop", RefusalError),
        ({"content": None}, "content_filter", RefusalError),
        ({"content": "half"}, "length", CutAnswerError),
        ({"content": None}, "length", CutAnswerError),
        ({"content": None}, "stop", EmptyAnswerError),
        ({"content": " "}, "stop", EmptyAnswerError),
        ({}, "tool_calls", UnfinishedAnswerError),
        ({}, "error", UnfinishedAnswerError),
        ({}, None, UnfinishedAnswerError),
        ({}, ["stop"], UnfinishedAnswerError),
    ],
)
def test_what_cannot_be_used_says_why(message: Any, reason: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_chat(body(message, reason)).usable_text()


def test_what_a_model_thought_is_not_what_it_said() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    parts = [thought, {"type": "text", "text": "yes"}, {"type": "text", "text": "!"}]
    answer = read_chat(body({"content": parts}))
    assert (answer.text, answer.blocks) == ("yes!", 3)


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (USAGE, Usage(10, 3)),
        (
            {**USAGE, "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 5}},
            Usage(1, 3, 4, 5),
        ),
        ({**USAGE, "prompt_tokens_details": None}, Usage(10, 3)),
        # OpenAI's reasoning is in the completion's, xAI's and Gemini's only in the sum.
        ({**USAGE, "completion_tokens_details": {"reasoning_tokens": 2}}, Usage(10, 3)),
        ({**USAGE, "total_tokens": 33}, Usage(10, 23)),
        ({"prompt_tokens": 10, "completion_tokens": 3}, Usage(10, 3)),
        ({"prompt_tokens": 10}, UNKNOWN_USAGE),
        ({**USAGE, "prompt_tokens": None}, UNKNOWN_USAGE),
        ({**USAGE, "prompt_tokens": True}, UNKNOWN_USAGE),
        ({**USAGE, "prompt_tokens": "10"}, UNKNOWN_USAGE),
        ({**USAGE, "prompt_tokens": -1}, UNKNOWN_USAGE),
        ({**USAGE, "prompt_tokens_details": {"cached_tokens": 11}}, UNKNOWN_USAGE),
        (None, UNKNOWN_USAGE),
        ([], UNKNOWN_USAGE),
    ],
)
def test_every_token_is_counted_once_or_the_bill_is_unknown(told: Any, usage: Usage) -> None:
    assert usage_of({"usage": told}) == usage


def test_what_was_billed_and_has_no_choice_is_an_empty_answer() -> None:
    answer = read_chat(json.dumps({"choices": [], "usage": USAGE}).encode())
    assert (answer.text, answer.usage) == ("", Usage(10, 3))


@pytest.mark.parametrize("odd", [b"", b"<html>", b"[]", b'{"choices": null}', b'{"error": {}}'])
def test_what_is_no_chat_completion_is_unreadable(odd: bytes) -> None:
    with pytest.raises(MalformedAnswerError, match="no chat completion"):
        read_chat(odd)


@pytest.mark.parametrize(
    ("said", "failed"),
    [
        (b'{"error": {"code": 502, "message": "x"}}', True),
        (b'{"choices": null, "error": {"code": 502}}', True),
        (b'{"choices": [{"message": {"content": "\\"error\\""}}]}', False),
        (b'{"choices": [{"message": {}}], "error": {"code": 1}}', False),
        (b'{"error": null, "choices": null}', False),
        (b'"error"', False),
        (b'{"error"', False),
    ],
)
def test_an_error_inside_a_200_is_seen(said: bytes, failed: bool) -> None:
    assert (error_in(said) is not None) == failed


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["choices", "message", "content", "finish_reason", "refusal", "usage", "text", "type",
             "prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details",
             "cached_tokens", "error"]
        ),
        inner,
    ),
    max_leaves=20,
)  # fmt: skip
USAGES = st.fixed_dictionaries({}, optional=dict.fromkeys((*USAGE, "prompt_tokens_details"), JSON))
BODIES = st.one_of(
    st.binary(max_size=40),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {"usage": USAGES | JSON},
        optional={
            "choices": JSON
            | st.lists(
                st.fixed_dictionaries(
                    {"message": JSON | st.fixed_dictionaries({"content": JSON, "refusal": JSON})},
                    optional={"finish_reason": JSON},
                ),
                max_size=2,
            )
        },
    ).map(lambda value: json.dumps(value).encode()),
    st.sampled_from(
        [b"[" * 10_000, b'{"choices": [{"message": {"content": "\\ud800"}}], "usage": {}}',
         b'{"choices": [], "usage": {"prompt_tokens": 1e999, "completion_tokens": 1}}',
         b'{"choices": [], "usage": {"prompt_tokens": NaN, "completion_tokens": 1}}']
    ),
)  # fmt: skip


@given(BODIES)
def test_any_body_is_an_answer_or_unreadable(said: bytes) -> None:
    error_in(said)
    try:
        answer = read_chat(said)
    except MalformedAnswerError:
        return
    assert isinstance(answer.text, str)
    assert answer.stop_reason is None or isinstance(answer.stop_reason, str)
    assert answer.usage.input_tokens >= 0
    assert answer.usage.output_tokens >= 0


@pytest.mark.parametrize("number", ["9" * 5_000, "-" + "9" * 5_000, "1e999"], ids=len)
def test_a_number_that_nobody_can_mean_takes_nothing_from_the_answer_beside_it(number: str) -> None:
    chat = '{"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}], "usage": %s}'
    message = (
        '{"content": [{"type": "text", "text": "yes"}], "stop_reason": "end_turn", "usage": %s}'
    )
    chat_usage = f'{{"prompt_tokens": {number}, "completion_tokens": 1}}'
    usage = f'{{"input_tokens": {number}, "output_tokens": 1}}'
    read = [read_chat((chat % chat_usage).encode()), Answer.read((message % usage).encode())]
    assert [(it.usable_text(), it.usage.known) for it in read] == [("yes", False)] * 2


@given(st.binary(max_size=60))
def test_a_body_is_journaled_with_the_name_of_its_wire_and_comes_back_as_it_was(
    raw: bytes,
) -> None:
    assert off_wire(on_wire("chat", raw)) == ("chat", raw)


def test_a_body_without_a_wire_is_the_messages_apis() -> None:
    raw = b'{"content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"}'
    assert off_wire(raw) == ("", raw)
    assert Answer.read(raw).text == "hi"


def test_a_body_of_an_unknown_wire_is_refused_in_one_line_by_whoever_reads_it() -> None:
    """And is no unreadable answer, which would be asked and paid for again."""
    later = on_wire("responses", b"{}")
    for read in (Answer.read, capabilities(OpenAIProvider("m", api_key="sk-x")).read):
        with pytest.raises(JournalError, match=r"^[^\n]*'responses'[^\n]*up to date[^\n]*$"):
            read(later)
