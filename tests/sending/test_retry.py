"""Rejections: the account's fault is told from the rows' by how alike they are."""

from __future__ import annotations

import pytest

from ondine_nb.errors import (
    FatalProviderError,
    RejectedRequestError,
    RowError,
    UnknownEncodingError,
)
from ondine_nb.sending.retry import Rejections


def until_fatal(errors: list[RowError], *, proven: bool = True) -> int | None:
    """How many of them end a run; None where all of them don't."""
    rejections = Rejections()
    for number, error in enumerate(errors, 1):
        try:
            rejections.check(error, proven=proven)
        except FatalProviderError:
            return number
    return None


@pytest.mark.parametrize(
    "message",
    [
        "bad parameter",
        "bad parameter (request id: req_01{n:05x}ab)",
        "messages.{n}: the field 'text {n}' isn't known",
        'the value "{n} pages" is no value',
        "failed at 2026-11-30T05:00:{n:02d}Z",
    ],
)
@pytest.mark.parametrize("proven", [True, False])
def test_twenty_that_differ_in_an_id_a_number_or_a_quote_alone_are_alike(
    message: str, proven: bool
) -> None:
    errors: list[RowError] = [RejectedRequestError(message.format(n=n)) for n in range(40)]
    assert until_fatal(errors, proven=proven) == 20


def test_answers_that_are_not_read_for_the_same_reason_are_alike_too() -> None:
    assert until_fatal([UnknownEncodingError("the encoding 'br'") for _ in range(40)]) == 20


def test_texts_that_are_each_too_long_in_their_own_way_are_their_rows_fault() -> None:
    said = "prompt is too long: {n} tokens > 200000 maximum"
    errors: list[RowError] = [RejectedRequestError(said.format(n=201_000 + n)) for n in range(40)]
    assert until_fatal(errors) is None


def test_those_that_say_different_things_end_nothing() -> None:
    kinds = ("text is empty", "a role is missing", "no such tool")
    errors: list[RowError] = [RejectedRequestError(kinds[n % 3]) for n in range(60)]
    assert until_fatal(errors) is None
