"""The stages of a run over a frame: load, prompt, invoke (alone, in packs, in batches), parse."""

from __future__ import annotations

from ..data import Column
from ..orchestration import AskAgain, NewColumn, PipelineStage, Row, RowSet, RowStage
from .batch import BatchInvokeStage
from .invoke import InvokeStage
from .load import LoadStage
from .pack import WRAPPING_TOKENS, Form, PackInvokeStage, ids_of
from .parse import ParseStage
from .prompt import PromptStage

__all__ = [
    "WRAPPING_TOKENS",
    "AskAgain",
    "BatchInvokeStage",
    "Column",
    "Form",
    "InvokeStage",
    "LoadStage",
    "NewColumn",
    "PackInvokeStage",
    "ParseStage",
    "PipelineStage",
    "PromptStage",
    "Row",
    "RowSet",
    "RowStage",
    "ids_of",
]
