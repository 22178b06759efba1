"""Groups of rows that are asked as one, and long rows that are asked in chunks: by trees of map and
merge, where one request doesn't do."""

from __future__ import annotations

from .climb import MergeDraft, TreeStage
from .cutting import content_hash, cut
from .fit import FRAME_BYTES, ContextFit, FitCheck
from .grouping import Group, Grouping
from .merging import AnswerMerge
from .prompts import numbered
from .spans import cut_text
from .split import SplitStage
from .splitting import Splitting
from .stage import GroupParseStage, GroupStage
from .tree import Node, tree_of

__all__ = [
    "FRAME_BYTES",
    "AnswerMerge",
    "ContextFit",
    "FitCheck",
    "Group",
    "GroupParseStage",
    "GroupStage",
    "Grouping",
    "MergeDraft",
    "Node",
    "SplitStage",
    "Splitting",
    "TreeStage",
    "content_hash",
    "cut",
    "cut_text",
    "numbered",
    "tree_of",
]
