"""What `x-ratelimit-*` headers tell, the rate limiter hears."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.providers.openai.rate_headers import limits_told, seconds_of, until_reset
from ondine_nb.sending import RateLimiter
from tests.server.chat import duration


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("120ms", 0.12),
        ("1h0m0s", 3600),
        ("2m59.56s", 179.56),
        ("7.66s", 7.66),
        ("1d2h", 93_600),
        ("20", 20),
        ("0s", 0),
        ("", None),
        (None, None),
        ("soon", None),
        ("9" * 400 + "s", None),
    ],
)
def test_a_duration_is_read_in_seconds(told: str | None, seconds: float | None) -> None:
    assert seconds_of(told) == pytest.approx(seconds)


@given(st.floats(0, 10_000))
def test_a_duration_as_the_api_writes_it_comes_back(seconds: float) -> None:
    read = seconds_of(duration(seconds))
    assert read is not None
    assert read == pytest.approx(seconds, abs=0.001, rel=1e-3)


def told(**kinds: Any) -> dict[str, str]:
    """`requests=(limit, remaining, reset)` as headers."""
    return {
        f"x-ratelimit-{what}-{kind.replace('_', '-')}": str(value)
        for kind, values in kinds.items()
        for what, value in zip(("limit", "remaining", "reset"), values, strict=True)
    }


def test_requests_and_tokens_are_told_under_the_limiters_names() -> None:
    headers = told(requests=(600, 599, "100ms"), tokens=(60_000, 0, "6s"))
    assert limits_told(headers) == {
        "anthropic-ratelimit-requests-limit": "600",
        "anthropic-ratelimit-requests-remaining": "599",
        "anthropic-ratelimit-tokens-limit": "60000",
        "anthropic-ratelimit-tokens-remaining": "0",
    }


def test_of_two_limits_of_tokens_the_one_that_is_met_first_counts() -> None:
    headers = told(tokens=(60_000, 50_000, "1s"), project_tokens=(20_000, 10, "1s"))
    found = limits_told(headers)
    assert found["anthropic-ratelimit-tokens-limit"] == "20000"
    assert found["anthropic-ratelimit-tokens-remaining"] == "10"


@pytest.mark.parametrize(
    "values",
    [(0, 0, "1s"), (-1, -1, "1s"), (600, -1, "1s"), ("many", 1, "1s"), (14_400, 14_399, "2m59s")],
    ids=["none", "azure", "below", "words", "of a day"],
)
def test_what_is_no_limit_of_a_minute_is_left_out(values: tuple[Any, ...]) -> None:
    assert limits_told(told(requests=values)) == {}


def test_a_refusal_says_when_what_is_used_up_is_there_again() -> None:
    headers = told(requests=(600, 12, "4s"), tokens=(60_000, 0, "1m30s"))
    assert until_reset(headers) == 90
    assert until_reset(told(requests=(600, 12, "4s"))) is None
    assert until_reset(told(requests=(600, 0, "99999999s"))) is None


VALUES = st.sampled_from(["1e999", "nan", "-1", "0", "", "9" * 400, "soon", "50", "1s", "6m0s"])
NAMES = [*told(requests=(1, 1, 1), tokens=(1, 1, 1), project_tokens=(1, 1, 1))]


@given(st.dictionaries(st.sampled_from([*NAMES, "retry-after"]), VALUES | st.text(max_size=8)))
def test_whatever_headers_hold_the_limiter_takes(headers: dict[str, str]) -> None:
    RateLimiter().learn(limits_told(headers))
    seconds = until_reset(headers)
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0)


def test_mistral_names_its_limits_of_a_minute_otherwise() -> None:
    """It tells no reset, and a limit of a month, which isn't one of how fast to go."""
    headers = {
        "x-ratelimit-limit-req-minute": "720",
        "x-ratelimit-remaining-req-minute": "717",
        "x-ratelimit-limit-tokens-minute": "50000",
        "x-ratelimit-remaining-tokens-minute": "0",
        "x-ratelimit-limit-tokens-month": "4000000",
        "x-ratelimit-remaining-tokens-month": "12",
        "x-ratelimit-tokens-query-cost": "52",
    }
    assert limits_told(headers) == {
        "anthropic-ratelimit-requests-limit": "720",
        "anthropic-ratelimit-requests-remaining": "717",
        "anthropic-ratelimit-tokens-limit": "50000",
        "anthropic-ratelimit-tokens-remaining": "0",
    }
    assert until_reset(headers) is None


def test_cerebras_names_the_minute_too_and_when_it_is_over() -> None:
    headers = told(requests_minute=(120, 84, "30s"), tokens_minute=(60_000, 0, "15s"))
    assert limits_told(headers)["anthropic-ratelimit-requests-limit"] == "120"
    assert until_reset(headers) == 15
