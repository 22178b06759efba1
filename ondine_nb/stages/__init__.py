"""The stages of a run over a frame: load, prompt, invoke, or pack, or batch, parse, vote."""

from __future__ import annotations

from ..data import Column
from ..orchestration import AskAgain, NewColumn, PipelineStage, Row, RowSet, RowStage
from .batch import Batches
from .invoke import InvokeStage
from .journal_only import JournalOnlyStage
from .load import LoadStage
from .pack import WRAPPING_TOKENS, Form, Packs
from .parse import REASKS, ParseStage
from .plan import Asked, OneByOne, Plan
from .prompt import Picker, PromptStage
from .vote import VoteStage, ballots_of, decided_columns

__all__ = [
    "REASKS",
    "WRAPPING_TOKENS",
    "AskAgain",
    "Asked",
    "Batches",
    "Column",
    "Form",
    "InvokeStage",
    "JournalOnlyStage",
    "LoadStage",
    "NewColumn",
    "OneByOne",
    "Packs",
    "ParseStage",
    "Picker",
    "PipelineStage",
    "Plan",
    "PromptStage",
    "Row",
    "RowSet",
    "RowStage",
    "VoteStage",
    "ballots_of",
    "decided_columns",
]
