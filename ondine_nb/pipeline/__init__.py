"""A frame, a prompt and options become a run: options, estimate, run, records and spending."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import lazily

if TYPE_CHECKING:
    from .estimate import Estimator, Tally, by_answers, duration, projected
    from .judging import JudgedRun, labels
    from .option_kinds import Kind, Option, Surface
    from .options import COMBINED, CONFLICTS, DEFAULT_MODEL, OPTIONS, Conflict, Options, conflict
    from .pipeline import Pipeline
    from .records import examples_frame, recorded, schema_class
    from .report import shown_path
    from .run import Run
    from .spending import Spent, costs, read_spending, write_csv

__all__ = [
    "COMBINED",
    "CONFLICTS",
    "DEFAULT_MODEL",
    "OPTIONS",
    "Conflict",
    "Estimator",
    "JudgedRun",
    "Kind",
    "Option",
    "Options",
    "Pipeline",
    "Run",
    "Spent",
    "Surface",
    "Tally",
    "by_answers",
    "conflict",
    "costs",
    "duration",
    "examples_frame",
    "labels",
    "projected",
    "read_spending",
    "recorded",
    "schema_class",
    "shown_path",
    "write_csv",
]

__getattr__: Callable[[str], Any] = lazily(
    __name__,
    {
        "COMBINED": "options",
        "CONFLICTS": "options",
        "Conflict": "options",
        "DEFAULT_MODEL": "options",
        "Estimator": "estimate",
        "JudgedRun": "judging",
        "Kind": "option_kinds",
        "OPTIONS": "options",
        "Option": "option_kinds",
        "Options": "options",
        "Pipeline": "pipeline",
        "Run": "run",
        "Spent": "spending",
        "Surface": "option_kinds",
        "Tally": "estimate",
        "by_answers": "estimate",
        "conflict": "options",
        "costs": "spending",
        "duration": "estimate",
        "examples_frame": "records",
        "labels": "judging",
        "projected": "estimate",
        "recorded": "records",
        "schema_class": "records",
        "shown_path": "report",
        "read_spending": "spending",
        "write_csv": "spending",
    },
)
