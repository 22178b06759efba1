"""The stages of a run over a frame: load, prompt, invoke, or pack, or batch, parse, vote."""

from __future__ import annotations

from ..data import Column
from ..orchestration import AskAgain, NewColumn, PipelineStage, Row, RowSet, RowStage
from .batch import Batches
from .evidence import EvidenceStage, Finds, Found, evidence_columns
from .groups import (
    FRAME_BYTES,
    AnswerMerge,
    ContextFit,
    FitCheck,
    Grouping,
    GroupParseStage,
    GroupStage,
    MergeDraft,
    SplitStage,
    Splitting,
    TreeStage,
)
from .invoke import InvokeStage
from .journal_only import JournalOnlyStage
from .load import LoadStage
from .pack import WRAPPING_TOKENS, Form, Packs
from .parse import REASKS, ParseStage
from .plan import Asked, OneByOne, Plan
from .prompt import Picker, PromptStage
from .schema_routes import Route, SchemaRoutes
from .vote import VoteStage, agree_name, ballots_of, decided_columns

__all__ = [
    "FRAME_BYTES",
    "REASKS",
    "WRAPPING_TOKENS",
    "AnswerMerge",
    "AskAgain",
    "Asked",
    "Batches",
    "Column",
    "ContextFit",
    "EvidenceStage",
    "Finds",
    "FitCheck",
    "Form",
    "Found",
    "GroupParseStage",
    "GroupStage",
    "Grouping",
    "InvokeStage",
    "JournalOnlyStage",
    "LoadStage",
    "MergeDraft",
    "NewColumn",
    "OneByOne",
    "Packs",
    "ParseStage",
    "Picker",
    "PipelineStage",
    "Plan",
    "PromptStage",
    "Route",
    "Row",
    "RowSet",
    "RowStage",
    "SchemaRoutes",
    "SplitStage",
    "Splitting",
    "TreeStage",
    "VoteStage",
    "agree_name",
    "ballots_of",
    "decided_columns",
    "evidence_columns",
]
