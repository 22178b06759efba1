"""The tree over a group's rows: every row below one leaf, and few nodes above a change."""

from __future__ import annotations

import random
from itertools import chain
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.stages.groups import Node, content_hash, tree_of


def contents(root: Node, rows: list[str]) -> set[Any]:
    """What each node is asked, as far as it follows from the rows."""
    made: dict[Node, Any] = {}
    for node in root.walk():
        own = [rows[at] for at in node.rows] if not node.children else node.children
        made[node] = hash(tuple(made[it] if isinstance(it, Node) else it for it in own))
    return set(made.values())


def tree(rows: list[str], most: int, fan_in: int) -> Node:
    return tree_of([len(row) for row in rows], [content_hash(row) for row in rows], most, fan_in)


@given(st.lists(st.text(min_size=1, max_size=9), min_size=1), st.integers(1, 60), st.integers(1, 9))
def test_the_leaves_have_every_row_once_in_order_and_every_node_merges_several(
    rows: list[str], most: int, fan_in: int
) -> None:
    root = tree(rows, most, fan_in)
    nodes = list(root.walk())
    leaves = [node for node in nodes if not node.children]
    assert list(chain.from_iterable(leaf.rows for leaf in leaves)) == list(range(len(rows)))
    assert root.rows == range(len(rows))
    assert nodes[-1] is root
    for node in nodes:
        assert len(node.children) in (0, *range(2, max(6, fan_in) + 1))
        assert [child.rows.start for child in node.children[1:]] == [
            child.rows.stop for child in node.children[:-1]
        ]


def test_rows_that_fit_are_one_leaf() -> None:
    root = tree(["four", "four"], 8, 16)
    assert (root.levels, root.children) == (1, ())
    assert tree(["four", "four"], 7, 16).levels == 2


def test_one_row_more_changes_a_leaf_and_the_path_above_it() -> None:
    chance = random.Random(11)
    rows = [f"row {at} {'x' * chance.randrange(20, 200)}" for at in range(4000)]
    whole = tree(rows, 4_000, 24)
    before, changed = contents(whole, rows), list[int]()
    assert whole.levels == 3
    for number in range(60):
        at = chance.randrange(len(rows) + 1)
        more = [*rows[:at], f"a new one {number}", *rows[at:]]
        changed.append(len(contents(tree(more, 4_000, 24), more) - before))
    assert max(changed) <= 8
    assert sum(changed) / len(changed) <= 4
