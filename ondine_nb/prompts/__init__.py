"""Prompt templates and schemas: what a row is asked, and what its answer has to be."""

from __future__ import annotations

from ..models import Prompt
from .diff import WordChange, word_diff
from .forms import FORMS
from .jinja import JinjaTemplate
from .quotes import QuotedField, QuotedSchema, quoted_schema
from .row_numbers import RowNumbers
from .schema import Field, Schema, parse_schema
from .template import Template, as_text, is_missing
from .words import system_in_words

__all__ = [
    "FORMS",
    "Field",
    "JinjaTemplate",
    "Prompt",
    "QuotedField",
    "QuotedSchema",
    "RowNumbers",
    "Schema",
    "Template",
    "WordChange",
    "as_text",
    "is_missing",
    "parse_schema",
    "quoted_schema",
    "system_in_words",
    "word_diff",
]
