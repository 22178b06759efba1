"""What a server says went wrong becomes the row's error, or ends the run, in one line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.errors import (
    FatalProviderError,
    ForbiddenError,
    OverloadedError,
    RateLimitedError,
    RejectedRequestError,
    RowError,
    ServerError,
)
from ondine_nb.providers.openai.errors import ErrorBody, error_of

ASKED = {
    "where": "OpenAI",
    "model": "gpt-5-mini",
    "key": "OPENAI_API_KEY",
    "url": "https://api.openai.com/v1",
}


def of(status: int, body: Any, headers: dict[str, str] | None = None) -> Any:
    return error_of(status, ErrorBody.of(json.dumps(body).encode()), headers or {}, **ASKED)


def error(message: str, code: Any = None, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


QUOTA = "You exceeded your current quota, please check your plan and billing details."


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (429, error(QUOTA, "insufficient_quota", "insufficient_quota"), FatalProviderError, "pay"),
        (429, error("Rate limit reached", "rate_limit_exceeded", "requests"), RateLimitedError, ""),
        (429, [{"error": {"code": 429, "message": QUOTA, "status": "RESOURCE_EXHAUSTED"}}],
         RateLimitedError, "quota"),
        (402, error("This request requires more credits", 402), FatalProviderError, "pay"),
        (401, error("Incorrect API key provided", "invalid_api_key"), FatalProviderError,
         "OPENAI_API_KEY"),
        (400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key",
                          "status": "INVALID_ARGUMENT"}}], FatalProviderError, "refused the key"),
        (400, {"code": "Client specified an invalid argument",
               "error": "Incorrect API key provided: xa***ey."}, FatalProviderError, "the key"),
        (403, error("You are not allowed"), ForbiddenError, ""),
        (404, error("The model `gpt-9` does not exist", "model_not_found"), FatalProviderError,
         "does not know model 'gpt-5-mini'"),
        (404, {"error": {"message": "model 'x' not found, try pulling it first"}},
         FatalProviderError, "try pulling it"),
        (400, error("gpt-9 is not a valid model ID", 400), FatalProviderError, "not a valid model"),
        (404, error("The API deployment does not exist", "DeploymentNotFound"), FatalProviderError,
         "does not know model"),
        (404, {"detail": "Not Found"}, FatalProviderError, "no route"),
        (405, {"detail": "Method Not Allowed"}, FatalProviderError, "no route"),
        (400, error("maximum context length is 8192", "context_length_exceeded"),
         RejectedRequestError, "8192"),
        (400, error("too long", 400, "exceed_context_size_error"), RejectedRequestError, "long"),
        (400, error("The response was filtered", "content_filter"), RejectedRequestError, ""),
        (400, error("Unsupported value: 'reasoning_effort'", "unsupported_value"),
         FatalProviderError, "--effort"),
        (400, error("Unsupported parameter: 'max_tokens'", "unsupported_parameter"),
         FatalProviderError, "--max-tokens"),
        (400, error("Invalid schema for response_format", "invalid_json_schema"),
         FatalProviderError, "schema"),
        (413, error("too large"), RejectedRequestError, ""),
        (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, RejectedRequestError,
         "field required"),
        (500, error("oh"), ServerError, ""),
        (503, error("The engine is currently overloaded", "overloaded"), OverloadedError, ""),
        (503, error("Slow Down"), ServerError, ""),
        (529, error("overloaded"), OverloadedError, ""),
        (409, error("again"), ServerError, ""),
    ],
)  # fmt: skip
def test_a_failure_is_read_by_status_type_code_and_words(
    status: int, body: Any, kind: type[Exception], said: str
) -> None:
    found = of(status, body)
    assert type(found) is kind
    assert said in str(found)


def test_a_refusal_says_how_long_to_wait() -> None:
    slow = error("Rate limit reached", "rate_limit_exceeded")
    assert of(429, slow, {"retry-after": "7"}).retry_after == 7
    assert of(429, slow, {"retry-after-ms": "250"}).retry_after == 0.25
    empty = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}
    assert of(429, slow, empty).retry_after == 360
    assert of(429, slow).retry_after is None


def test_a_key_that_may_send_no_request_at_all_ends_the_run() -> None:
    """Mistral says so of a plan that has none; 0 by another name has meant no limit."""
    said = of(429, error("Rate limit exceeded", 1300), {"x-ratelimit-limit-req-minute": "0"})
    assert type(said) is FatalProviderError
    assert "allows this key no request" in str(said)
    for other in ({"x-ratelimit-limit-req-minute": "60"}, {"x-ratelimit-limit-requests": "0"}):
        assert type(of(429, error("Rate limit exceeded"), other)) is RateLimitedError


def test_what_a_refusals_headers_tell_of_limits_is_told_on() -> None:
    headers = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0"}
    found = of(429, error("slow"), headers)
    assert found.headers["anthropic-ratelimit-requests-remaining"] == "0"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "type", "detail", "status", "param"]),
            inner,
        )
    ),
    max_leaves=8,
)
STATUSES = st.sampled_from([400, 401, 402, 403, 404, 405, 408, 409, 413, 422, 429, 500, 503, 529])


@given(STATUSES, st.binary(max_size=30) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_a_body_says_it_is_one_of_our_errors_in_one_line(status: int, body: bytes) -> None:
    found = error_of(status, ErrorBody.of(body), {}, **ASKED)
    assert isinstance(found, RowError | FatalProviderError)
    assert "\n" not in str(found)
