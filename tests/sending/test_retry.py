"""Rejections: the account's fault is told from the rows' by how alike they are."""

from __future__ import annotations

import pytest

from ondine_nb.errors import (
    FatalProviderError,
    ForbiddenError,
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
            rejections.check(error, number, proven=proven)
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


FORBIDDEN = ForbiddenError("a filter refused it (403)")


def sent(rejections: Rejections, many: int) -> range:
    first, rejections.sent = rejections.sent + 1, rejections.sent + many
    numbers = range(first, first + many)
    rejections.waiting.update(numbers)
    return numbers


def test_a_filter_that_refuses_sooner_than_others_are_answered_ends_nothing() -> None:
    rejections = Rejections()
    for number in sent(rejections, 300):
        if number % 10 == 0:  # all of them before the first answer
            rejections.waiting.discard(number)
            rejections.check(FORBIDDEN, number, proven=True)
    for number in sorted(rejections.waiting):
        rejections.answered = max(rejections.answered, number)
        rejections.waiting.discard(number)
        rejections.forget(number)
    late = Rejections()
    numbers = sent(late, 300)
    late.answered = numbers[-1]
    for number in numbers[::10]:  # all of them after the last answer
        late.waiting.discard(number)
        late.check(FORBIDDEN, number, proven=True)


def test_an_answer_to_what_was_sent_before_says_nothing_of_what_was_sent_then() -> None:
    rejections = Rejections()
    early, *numbers = sent(rejections, 6)
    for number in numbers[:4]:
        rejections.waiting.discard(number)
        rejections.check(FORBIDDEN, number, proven=True)
    rejections.answered = early
    rejections.waiting.discard(early)
    rejections.forget(early)
    rejections.waiting.discard(numbers[4])
    with pytest.raises(FatalProviderError, match="5 requests in a row"):
        rejections.check(FORBIDDEN, numbers[4], proven=True)
