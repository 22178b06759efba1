"""A frame, a prompt and options become a run: options, estimate, run, records and spending."""

from __future__ import annotations

from .estimate import Estimator, Tally, projected
from .options import DEFAULT_MODEL, EFFORTS, EXECUTORS, Options
from .pipeline import Pipeline
from .records import recorded, schema_class
from .run import Run
from .spending import Spent, costs, spending, write_csv

__all__ = [
    "DEFAULT_MODEL",
    "EFFORTS",
    "EXECUTORS",
    "Estimator",
    "Options",
    "Pipeline",
    "Run",
    "Spent",
    "Tally",
    "costs",
    "projected",
    "recorded",
    "schema_class",
    "spending",
    "write_csv",
]
