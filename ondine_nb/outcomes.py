"""What became of a run's rows, as frames to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .frames import Column, records_frame
from .models import Failure
from .rows import Row

__all__ = ["errors_frame", "failures_of", "rows_frame"]


def failures_of(rows: Sequence[Row | None]) -> list[Failure]:
    """Why the failed ones of `rows` failed."""
    return [row.failure for row in list(rows) if row is not None and row.failure is not None]


def errors_frame(kind: str, failures: Sequence[Failure]) -> Any:
    """One line each: row (position), stage, error_type, message, attempts."""
    return records_frame(
        kind,
        [
            Column("row", "int", [failure.row for failure in failures]),
            Column("stage", "str", [failure.stage for failure in failures]),
            Column("error_type", "str", [failure.error_type for failure in failures]),
            Column("message", "str", [failure.message for failure in failures]),
            Column("attempts", "int", [failure.attempts for failure in failures]),
        ],
    )


def rows_frame(kind: str, rows: Sequence[Row | None], *, priced: bool) -> Any:
    """All of `rows`: row (position), status, cost (USD), tokens, latency (seconds), attempts.

    None is a row that hasn't been read; costs are missing where the price is unknown.
    """
    known = [row or Row(at, (), {}) for at, row in enumerate(rows)]
    return records_frame(
        kind,
        [
            Column("row", "int", [row.position for row in known]),
            Column("status", "str", [row.status for row in known]),
            Column("cost", "float", [float(row.cost) if priced else None for row in known]),
            Column("tokens", "int", [row.usage.total_tokens for row in known]),
            Column("latency", "float", [row.latency for row in known]),
            Column("attempts", "int", [row.attempts for row in known]),
        ],
    )
