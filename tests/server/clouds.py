"""Claude as clouds serve it: the model in the path, the API's version in the body."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .rules import Problem, problem_of

__all__ = ["cloud_body", "cloud_model", "cloud_problem"]

_INVOKE = re.compile(r"^/model/([^/]+)/invoke$|/publishers/anthropic/models/([^/:]+):rawPredict$")


def cloud_model(path: str) -> str | None:
    """The model that a path invokes, or None where it is no such path."""
    found = _INVOKE.search(path)
    return None if found is None else next(filter(None, found.groups()))


def cloud_body(model: str) -> Callable[[Any], Any]:
    """A body of these as one of the Messages API."""

    def read(body: Any) -> Any:
        if not isinstance(body, Mapping):
            return body
        return {"model": model} | {key: body[key] for key in body if key != "anthropic_version"}

    return read


def cloud_problem(model: str) -> Callable[[Any, Sequence[str] | None], Problem | None]:
    """Why a cloud would refuse a body: as the Messages API, and for the version and the model."""

    def problem(body: Any, models: Sequence[str] | None) -> Problem | None:
        if isinstance(body, Mapping) and ("model" in body or "anthropic_version" not in body):
            return Problem(400, "invalid_request_error", "anthropic_version: Field required")
        if models is not None and model not in models:
            told = "The provided model identifier is invalid."
            return Problem(400, "invalid_request_error", told)
        return problem_of(cloud_body(model)(body), None)

    return problem
