"""What an executor is given, checked before anything runs: one line each for what can't be."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

from ..errors import ConfigurationError

__all__ = ["check_on_error", "check_run", "whole_number"]


def check_on_error(on_error: str) -> None:
    """Raises `ConfigurationError` for what `on_error` can't be."""
    if on_error not in ("keep", "stop"):
        raise ConfigurationError(f"on_error is {on_error!r}: it has to be 'keep' or 'stop'")


def whole_number(name: str, given: Any, unit: str = "") -> int:
    """`given` as an int of 1 or more. Raises `ConfigurationError`, by its `name`, for all else."""
    try:
        number = 0 if isinstance(given, bool) else index(given)
    except TypeError:
        number = 0
    if number < 1:
        raise ConfigurationError(f"{name} is {given!r}: it has to be 1 {unit}or more")
    return number


def check_run(stages: Sequence[Any], context: Any) -> None:
    """Raises `ConfigurationError` where a stage is none, or the context isn't one."""
    for stage in stages:
        if isinstance(stage, type):
            raise ConfigurationError(
                f"stage {stage.__name__} is a class: give an object, as {stage.__name__}('name')"
            )
        if not callable(getattr(stage, "process", None)):
            raise ConfigurationError(
                f"{stage!r} is no stage: it has no method `process(input_data, context)`"
            )
    if not hasattr(context, "control"):
        raise ConfigurationError(f"context is {context!r}: give an ExecutionContext()")
    other = context.observer_dispatcher
    if other is not None and not callable(getattr(other, "dispatch", None)):
        raise ConfigurationError(
            f"observer_dispatcher is {other!r}: it has to have a method `dispatch(name, event)`"
        )
