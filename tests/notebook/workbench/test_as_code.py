"""As code: whatever is on the bench, the cell's own reader gives the same back."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from ondine_nb.notebook.arguments import parse_line
from ondine_nb.notebook.workbench.as_code import Code, as_code, name_of
from ondine_nb.pipeline.options import Options


class Verdict(BaseModel):
    mood: str


FRAME = pd.DataFrame({"text": ["a"]})
NAMES: dict[str, Any] = {"reviews": FRAME, "rules": "be short", "Verdict": Verdict, "good": 1}
# Texts that a line makes trouble with: quotes, brackets, dollars, dashes, ends of lines.
TROUBLE = st.text(
    st.sampled_from("ab \"'\\$-=#%{}[]()\n\t|:,?é\u2028\x0b🎈") | st.characters(codec="utf-8"),
    min_size=1,
    max_size=24,
)
TEXTS = TROUBLE | st.sampled_from(
    ["$rules", "--quiet", "-p", "a\\", "'", '"', "rules", "good", " "]
)


def read(code: Code) -> tuple[dict[str, Any], str]:
    """The options and the prompt that a notebook takes from the code."""
    namespace = {**NAMES, **code.bindings}
    exec(code.above, namespace)
    line, _, body = code.cell.partition("\n")
    return parse_line(line.removeprefix("%%ondine"), namespace), body


def options_of(given: dict[str, Any]) -> Options:
    return Options.of({name: it for name, it in given.items() if name not in ("out", "input")})


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    system=TEXTS,
    column=TEXTS.filter(str.strip),
    params=st.dictionaries(st.sampled_from(["tone", "größe", "n"]), TEXTS, max_size=3),
    budget=st.none() | st.decimals(0, 1000, places=4),
    max_tokens=st.none() | st.integers(1, 99_999),
    concurrency=st.sampled_from(["auto", 1, 64]),
    effort=st.sampled_from([None, "low", "max"]),
    schema=st.sampled_from(["mood: good|bad, score: float?", "m: \"a b\"|'c'", None, Verdict]),
    overwrite=st.booleans(),
    price=st.none() | st.floats(0, 99),
)
def test_the_cell_is_read_back_as_exactly_the_same_options(**given: Any) -> None:
    given["price_in"] = given["price_out"] = given.pop("price")
    code = as_code("labeled", "reviews", "Tell {text}\n  now", given, NAMES)
    options, body = read(code)
    assert body == "Tell {text}\n  now"
    assert options["out"] == "labeled"
    assert options["input"] == "reviews"
    assert options_of(options) == Options.of(given)


@settings(max_examples=200, deadline=None)
@given(source=TROUBLE)
def test_an_expression_for_the_frame_is_read_back_or_bound(source: str) -> None:
    options, _ = read(as_code("labeled", source, "Tell {text}", {}, NAMES))
    assert options["input"] == source


def test_a_plain_case_reads_like_written_by_hand() -> None:
    code = as_code(
        "labeled",
        "reviews",
        "Judge {text}",
        {
            "budget": 2,
            "schema": "mood: good|bad",
            "params": {"tone": "very formal"},
            "system": "It's fair",
        },
        NAMES,
    )
    assert code.cell == (
        '%%ondine labeled -i reviews --schema "mood: good|bad" --system "It\'s fair" --budget 2 '
        '-p tone="very formal"\nJudge {text}'
    )
    assert code.above == ""


def test_what_no_line_can_hold_gets_a_name_and_a_line_that_sets_it() -> None:
    schema = {"type": "object", "properties": {"mood": {"type": "string"}}}
    code = as_code("out", "reviews", "{text}", {"system": "a\nb", "schema": schema}, NAMES)
    assert code.above.splitlines() == [f"out_schema = {schema!r}", r"out_system = 'a\nb'"]
    assert "--schema $out_schema --system $out_system" in code.cell
    options, _ = read(code)
    assert options["schema"] == schema


def test_a_name_that_the_user_has_is_not_taken_from_them() -> None:
    code = as_code("out", "reviews", "{text}", {"system": "a\nb"}, {**NAMES, "out_system": "mine"})
    assert code.above == r"out_system_2 = 'a\nb'"


def test_an_object_is_found_by_the_user_s_own_name() -> None:
    assert name_of(FRAME, {"_": FRAME, "reviews": FRAME}) == "reviews"
    assert name_of(FRAME, {"copy": FRAME.copy()}) is None
    code = as_code("out", "reviews", "{text}", {"schema": Verdict}, NAMES)
    assert "--schema Verdict" in code.cell
