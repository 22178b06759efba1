"""Groups of rows that are asked as one: by the whole prompt, or by a tree of map and merge."""

from __future__ import annotations

from .cutting import content_hash, cut
from .grouping import Group, Grouping
from .prompts import numbered
from .stage import GroupParseStage, GroupStage, MergeDraft
from .tree import Node, tree_of

__all__ = [
    "Group",
    "GroupParseStage",
    "GroupStage",
    "Grouping",
    "MergeDraft",
    "Node",
    "content_hash",
    "cut",
    "numbered",
    "tree_of",
]
