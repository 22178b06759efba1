"""One tree of errors: what is raised before a run, in a row, and at a run's end."""

from __future__ import annotations

import inspect

import pytest

from ondine_nb import errors
from ondine_nb.errors import ConfigurationError, OndineError, RowError, RunError, TransientError

CLASSES = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if found.__module__ == errors.__name__
]


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_every_error_stands_in_the_tree_and_is_exported(error: type[Exception]) -> None:
    assert issubclass(error, OndineError)
    assert error.__name__ in errors.__all__


def test_the_three_branches_do_not_mix() -> None:
    branches = (ConfigurationError, RowError, RunError)
    for error in CLASSES:
        assert sum(issubclass(error, branch) for branch in branches) <= 1
    assert issubclass(ConfigurationError, ValueError)


def test_row_errors_have_labels_of_their_own() -> None:
    labels = [error.label for error in CLASSES if issubclass(error, RowError)]
    below = [
        error for error in CLASSES if issubclass(error, RowError) and not error.__subclasses__()
    ]
    assert len({error.label for error in below}) == len(below)
    assert all(label and label == label.lower() for label in labels)


def test_a_transient_error_says_what_the_retry_needs_to_know() -> None:
    plain = TransientError("x")
    assert (plain.retry_after, plain.possibly_billed, plain.unreachable) == (None, False, False)
    told = errors.RateLimitedError("x", retry_after=2.5, possibly_billed=True, unreachable=True)
    assert (told.retry_after, told.possibly_billed, told.unreachable) == (2.5, True, True)


def test_a_notebook_shows_one_line() -> None:
    assert RunError("it ended")._render_traceback_() == ["RunError: it ended"]


@pytest.mark.parametrize(
    ("name", "names", "found"),
    [
        ("txt", ["text", "price"], "text"),
        ("TEXT", ["Text"], "Text"),
        ("zzz", ["text"], None),
        ("x", [], None),
        ("1", [1, 2], "1"),
    ],
)
def test_nearest_finds_what_was_meant(name: str, names: list[str], found: str | None) -> None:
    assert errors.nearest(name, names) == found
