"""Names in a prompt: read as the template reads them, and marked where they stand for nothing."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.errors import PromptError
from ondine_nb.notebook.workbench.draft import free_names, marks, unknown_line
from ondine_nb.prompts.template import Template

COLUMNS = ("text", "stars", "a b", "x}y", "{z")
PIECES = st.sampled_from(
    ["{", "}", "{{", "}}", "text", "tone", "txt", "a b", "x}y", "{z", " ", "{text}", "{tone}", "1"]
)


def kinds(text: str) -> list[tuple[str, str]]:
    return [(mark.name, mark.kind) for mark in marks(text, COLUMNS, ["tone"])]


def test_columns_controls_and_unknown_names_are_told_apart_with_their_places() -> None:
    text = '{{text}} {text} {a b} {tone} {txt} {"a": 1} { text } {x}y}'
    assert kinds(text) == [
        ("text", "column"),
        ("a b", "column"),
        ("tone", "control"),
        ("txt", "unknown"),
        ("x}y", "column"),
    ]
    for mark in marks(text, COLUMNS, ["tone"]):
        assert text[mark.start : mark.end] == f"{{{mark.name}}}"


@given(st.lists(PIECES, max_size=12).map("".join))
def test_what_is_marked_is_what_the_template_takes(text: str) -> None:
    found = marks(text, COLUMNS, ["tone"])
    used = {mark.name for mark in found if mark.kind == "control"}
    params = dict.fromkeys(used, "")
    problem = ""
    try:
        template = Template.compile(text, COLUMNS, params)
    except PromptError as error:
        problem = str(error)
    if any(mark.kind == "unknown" for mark in found):
        assert problem
        return
    columns = dict.fromkeys(mark.name for mark in found if mark.kind == "column")
    if problem:
        assert re.search("names no column|asks for a format|is empty", problem)
    else:
        assert template.columns == tuple(columns)


def test_a_slip_gets_no_control_and_any_other_name_does() -> None:
    found = marks("{txt} {audience} {audience} {startss}", COLUMNS, ["tone"])
    assert free_names(found, COLUMNS, ["tone"]) == ["audience"]


def test_an_unknown_name_is_told_with_columns_and_the_nearest_match() -> None:
    assert unknown_line("txt", ("text", "stars", "when"), ["tone"]) == (
        "{txt} is neither a column (text, stars, when) nor a control. Did you mean {text}?"
    )
    assert unknown_line("q", tuple("abcdefghij"), []).startswith(
        "{q} is neither a column (a, b, c, d, e, f, g, h, …) nor a control."
    )
