"""A frame, a prompt and options become a run: options, estimate, run, records and spending."""

from __future__ import annotations

from .estimate import Estimator, Tally, by_answers, duration, projected
from .option_kinds import Kind, Option, Surface
from .options import COMBINED, CONFLICTS, DEFAULT_MODEL, OPTIONS, Conflict, Options, conflict
from .pipeline import Pipeline
from .records import recorded, schema_class
from .report import shown_path
from .run import Run
from .spending import Spent, costs, spending, write_csv

__all__ = [
    "COMBINED",
    "CONFLICTS",
    "DEFAULT_MODEL",
    "OPTIONS",
    "Conflict",
    "Estimator",
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
    "projected",
    "recorded",
    "schema_class",
    "shown_path",
    "spending",
    "write_csv",
]
