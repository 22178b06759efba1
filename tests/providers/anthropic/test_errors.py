"""What a status, a type and words mean: the account's fault, or the row's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ondine_nb.providers.anthropic.errors import is_spent


def told(message: str = "no", kind: Any = "invalid_request_error", **inner: Any) -> Any:
    """An error of the SDK, as far as it is read."""
    body = {"type": "error", "error": {"type": kind, "message": message, **inner}}
    return SimpleNamespace(body=body, api_message=message, error_code=None)


@pytest.mark.parametrize(
    "words",
    [
        "Your credit balance is too low to access the Anthropic API.",
        "You have reached your specified API usage limits. You will regain access on 1 Jan.",
        "You have exceeded your monthly spend limit",
        "Your organization has run out of prepaid credits",
        "Insufficient balance. Please top up",
        "Your account is out of credits",
        "Not enough credits for this request",
        "Your prepaid balance is exhausted",
        "Budget has been exceeded! Current cost: 10.2, Max budget: 10.0",
        "Your account is not active, please check your billing details on our website.",
        "The spending limit has been reached",
        "This request would exceed your organization's monthly spend limit",
    ],
)
@pytest.mark.parametrize("status", [400, 403, 429])
def test_an_account_that_cant_pay_says_so_in_many_words(status: int, words: str) -> None:
    assert is_spent(status, told(words))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (402, told()),
        (400, told(kind="billing_error")),
        (429, told(code="insufficient_quota")),
        (400, told(kind="budget_exceeded", code="400")),
    ],
)
def test_or_by_its_status_type_or_code(status: int, error: Any) -> None:
    assert is_spent(status, error)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "prompt is too long: 214,000 tokens > 200,000 maximum"),
        (400, "messages.0.content: text must not be empty"),
        (403, "the gateway's filter keeps this text back"),
        (429, "This request would exceed your organization's rate limit of 50 requests per minute"),
        (429, "Number of request tokens has exceeded your per-minute rate limit"),
        (400, "the text is not allowed: " + "x" * 90 + " my credit balance is too low"),
    ],
)
def test_a_rows_own_fault_and_a_rate_limit_are_not_taken_for_it(status: int, words: str) -> None:
    assert not is_spent(status, told(words))
