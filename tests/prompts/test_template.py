"""Templates: what braces mean, what is refused, and the text that values become."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import subprocess
import sys
import uuid
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ondine_nb.errors import PromptError
from ondine_nb.models import Prompt
from ondine_nb.prompts.template import Template, as_text, escape, is_missing

COLUMNS = ["text", "stars", "product name", "preis (€)", "название", "a.b"]


def render(prompt: str, columns: list[str] = COLUMNS, **row: Any) -> str | None:
    template = Template.compile(prompt, columns)
    return text_of(template, [row.get(name, f"<{name}>") for name in template.columns])


def text_of(template: Template, values: list[Any]) -> str | None:
    made = template.render(values)
    assert made is None or made.is_text
    return None if made is None else made.text


def refused(prompt: str, columns: list[str] = COLUMNS, params: dict[str, Any] | None = None) -> str:
    with pytest.raises(PromptError) as caught:
        Template.compile(prompt, columns, params or {}, "reviews")
    return str(caught.value)


def test_importing_needs_neither_frames_nor_pydantic() -> None:
    code = (
        "import sys, ondine_nb.prompts; "
        "print({'pydantic', 'pydantic_core', 'pandas', 'numpy', 'polars', 'anthropic', 'jinja2'}"
        " & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_columns_stand_in_order_of_first_use_and_repeat_freely() -> None:
    template = Template.compile("{stars} {text} {stars}", COLUMNS)
    assert template.columns == ("stars", "text")
    assert text_of(template, [5, "good"]) == "5 good 5"


@pytest.mark.parametrize("name", COLUMNS)
def test_any_column_name_is_addressed_as_it_stands(name: str) -> None:
    assert render(f"x {{{name}}} y") == f"x <{name}> y"


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ('{text} {"a": 1}', '<text> {"a": 1}'),
        ('{text} {"a": {"b": 1}}', '<text> {"a": {"b": 1}}'),
        ('{"a": {"b": {text}}}', '{"a": {"b": <text>}}'),
        ('{"a": {text}}', '{"a": <text>}'),
        ('{{"a": {{"b": {text}}}}}', '{"a": {"b": <text>}}'),
        ('{{"a": {"b": {text}}}}', '{"a": {"b": <text>}}'),
        ("{{text}} {text}", "{text} <text>"),
        ("{{{text}}}", "{<text>}"),
        ("{text} {} { text } {\n}", "<text> {} { text } {\n}"),
        ("{text} {{ and }}", "<text> { and }"),
        ("{text} }} {{", "<text> } {"),
        (r"{text} \d{3} {1,2} { {", r"<text> \d{3} {1,2} { {"),
        ("{text} {foo: bar} {foo.bar}", "<text> {foo: bar} {foo.bar}"),
        ("{text", None),
    ],
)
def test_what_braces_mean(prompt: str, text: str | None) -> None:
    if text is None:
        assert "names no column" in refused(prompt)
    else:
        assert render(prompt) == text


@pytest.mark.parametrize(
    "prompt",
    [
        *["{stars:.2f}", "{text!r}", "{text.upper}", "{text[0]}", "{text:>10}", "{text!r:>10}"],
        *["{ stars:.2f }", "{a.b:.1f}", "{a.b.c}", "{product name:>3}", "{text:{stars}}"],
        *["{str:.2f} {text}", "{txt!r} {text}", "{txt.upper} {text}", "{tex[0]} {text}"],
    ],
)
def test_formatting_is_refused_and_the_error_names_doubled_braces(prompt: str) -> None:
    assert "{{" in refused(prompt)


def test_an_unknown_name_is_told_with_the_columns_and_the_nearest() -> None:
    message = refused("{txt}", ["text", "stars"])
    assert "'txt' is not in `reviews` (text, stars). Did you mean {text}?" in message


def test_nothing_is_proposed_when_nothing_is_near_and_long_lists_are_cut() -> None:
    message = refused("{zzz}", [f"column_{n}" for n in range(1000)])
    assert "Did you mean" not in message
    assert "…" in message
    assert len(message) < 300


@pytest.mark.parametrize(
    ("prompt", "params", "part"),
    [
        ("", {}, "empty"),
        (" \n", {}, "empty"),
        ("What?", {}, "names no column"),
        ("{{text}}", {}, "names no column"),
        ("{text}", {"lang": "de"}, "'lang' is not used"),
        ("{text}", {"text": "de"}, "name of a column"),
        ("{lang}", {"lang": "de"}, "names no column"),
        ("{text} {lang.x}", {"lang": "de"}, "{lang}"),
        ("{text} {lnag}", {"lang": "de"}, "Did you mean {lang}?"),
    ],
)
def test_what_else_is_refused(prompt: str, params: dict[str, Any], part: str) -> None:
    assert part in refused(prompt, params=params)


def test_a_prompt_that_is_no_text_is_refused() -> None:
    with pytest.raises(PromptError, match="not NoneType"):
        Template.compile(None, COLUMNS)  # type: ignore[arg-type]


def test_a_doubled_column_is_refused_only_where_it_is_named() -> None:
    assert "stands twice" in refused("{x}", ["x", "y", "x"])
    assert Template.compile("{y}", ["x", "y", "x"]).columns == ("y",)


def test_column_names_with_braces_are_found() -> None:
    assert render("{a}b} {x{y}", ["a}b", "x{y"]) == "<a}b> <x{y>"


def test_parameters_are_filled_once_and_not_read_again() -> None:
    template = Template.compile("{rule} {text}", COLUMNS, {"rule": "{stars} {{x}}"})
    assert template.columns == ("text",)
    assert text_of(template, ["{stars}"]) == "{stars} {{x}} {stars}"


def test_a_row_is_skipped_only_when_every_named_column_is_missing() -> None:
    template = Template.compile("{text}/{stars}", COLUMNS)
    assert text_of(template, [None, float("nan")]) is None
    assert text_of(template, [None, 5]) == "/5"
    assert text_of(template, ["", None]) == "/"


def test_a_wrong_number_of_values_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 values for 1 columns"):
        Template.compile("{text}", COLUMNS).render(["a", "b"])


def test_lone_surrogates_can_be_sent() -> None:
    text = render("\ud800 {text}", text="\udfff")
    assert text == "\ufffd \ufffd"


@given(st.text())
@example("}{")
@example("{}}{{}")
def test_escaped_text_stands_as_it_is(text: str) -> None:
    template = Template.compile(escape(text) + "{col}", ["col"])
    assert text_of(template, ["V"]) == text + "V"


@given(st.text("{} txcol\n.:!\"'"), st.lists(st.text(min_size=1), max_size=3))
def test_any_prompt_is_refused_or_compiled(text: str, more: list[str]) -> None:
    try:
        template = Template.compile(text, ["text", "col", *more])
    except PromptError:
        return
    assert template.columns
    template.render([None] * len(template.columns))


@given(st.data())
def test_pieces_and_values_stay_aligned(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.text(st.characters(exclude_characters="{}")), unique=True))
    names = [name for name in names if name]
    assume(names)
    used = data.draw(st.lists(st.sampled_from(names), min_size=1))
    literals = data.draw(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"])),
            min_size=len(used),
            max_size=len(used),
        )
    )
    values = {name: data.draw(st.text(), label=name) for name in names}
    prompt = "".join(f"{escape(lit)}{{{name}}}" for lit, name in zip(literals, used, strict=True))
    template = Template.compile(prompt, names)
    rendered = text_of(template, [values[name] for name in template.columns])
    assert rendered == "".join(
        f"{lit}{values[name]}" for lit, name in zip(literals, used, strict=True)
    )


class Mood(enum.Enum):
    GOOD = "good"


class Level(enum.IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "True"),
        (3, "3"),
        (3.0, "3.0"),
        (0.1, "0.1"),
        (float("inf"), "inf"),
        (np.float32(0.1), "0.1"),
        (np.float64(0.1), "0.1"),
        (np.int8(3), "3"),
        (np.bool_(True), "True"),
        (np.str_("a"), "a"),
        (np.datetime64("2024-01-02T03:04:05.5", "ns"), "2024-01-02T03:04:05.500000"),
        (np.datetime64("2024-01-02"), "2024-01-02"),
        (np.timedelta64(90, "s"), "PT1M30S"),
        (decimal.Decimal("1.50"), "1.50"),
        (dt.date(2024, 1, 2), "2024-01-02"),
        (dt.time(3, 4), "03:04:00"),
        (dt.datetime(2024, 1, 2), "2024-01-02T00:00:00"),
        (pd.Timestamp("2024-01-02"), "2024-01-02T00:00:00"),
        (pd.Timedelta("1D 2h"), "P1DT2H"),
        (dt.timedelta(0), "PT0S"),
        (dt.timedelta(seconds=-1.5), "-PT1.5S"),
        (b"\xc3\xa9\xff", "é\ufffd"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Mood.GOOD, "good"),
        (Level.HIGH, "3"),
        ([1, None, float("nan"), "é"], '[1, null, null, "é"]'),
        ({"a": (1.0, dt.date(2024, 1, 2))}, '{"a": [1.0, "2024-01-02"]}'),
        pytest.param({"b", "a"}, '["a", "b"]', id="a set"),
        (np.array([[1, 2], [3, 4]]), "[[1, 2], [3, 4]]"),
        (np.array([0.1], dtype="float32"), "[0.1]"),
        (pl.Series([1, None]), "[1, null]"),
        ([float("inf"), Mood.GOOD, True], '["inf", "good", true]'),
        ({1: {"x": b"y"}}, '{"1": {"x": "y"}}'),
    ],
    ids=repr,
)
def test_the_text_of_a_value(value: object, text: str) -> None:
    assert as_text(value) == text


@pytest.mark.parametrize(
    "value",
    [
        None,
        float("nan"),
        np.float32("nan"),
        pd.NaT,
        pd.NA,
        np.datetime64("NaT"),
        np.timedelta64("NaT"),
        decimal.Decimal("NaN"),
        decimal.Decimal("sNaN"),
        np.float64("nan"),
    ],
    ids=repr,
)
def test_a_missing_value_is_empty_text(value: object) -> None:
    assert is_missing(value)
    assert as_text(value) == ""


@pytest.mark.parametrize(
    "value", ["", "nan", 0, 0.0, False, [], np.array([]), np.array([1.0, 2.0])]
)
def test_what_is_not_missing(value: object) -> None:
    assert not is_missing(value)


def from_pandas(values: list[Any]) -> str:
    (value,) = pd.DataFrame({"x": values})["x"].tolist()
    return as_text(value)


def from_polars(values: list[Any]) -> str:
    ((value,),) = pl.DataFrame({"x": values}, strict=False).iter_rows()
    return as_text(value)


same_in_both = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(),
    st.binary(),
    st.dates(),
    st.times(),
    st.datetimes(),
    st.timedeltas(dt.timedelta(days=-(10**6)), dt.timedelta(days=10**6)),
    st.lists(st.integers(-(2**31), 2**31), max_size=3),
    st.lists(st.floats(allow_infinity=False), max_size=3),
    st.lists(st.dates(), max_size=3),
    st.fixed_dictionaries({"a": st.text(), "b": st.none() | st.booleans()}),
)


@given(same_in_both)
def test_pandas_and_polars_give_the_same_text(value: Any) -> None:
    assert from_pandas([value]) == from_polars([value])


@pytest.mark.parametrize(
    ("in_pandas", "in_polars"),
    [
        (
            lambda: pd.Series(["a"], dtype="category"),
            lambda: pl.Series(["a"], dtype=pl.Categorical),
        ),
        (
            lambda: pd.Series(pd.to_datetime(["2024-01-02 03:04"]).tz_localize("Europe/Berlin")),
            lambda: pl.Series([dt.datetime(2024, 1, 2, 3, 4, tzinfo=ZoneInfo("Europe/Berlin"))]),
        ),
        (lambda: pd.Series([1], dtype="Int64"), lambda: pl.Series([1])),
        (lambda: pd.Series([None], dtype="Int64"), lambda: pl.Series([None], dtype=pl.Int64)),
        (lambda: pd.Series([pd.NaT]), lambda: pl.Series([None], dtype=pl.Datetime)),
        (
            lambda: pd.Series([decimal.Decimal("1.50")]),
            lambda: pl.Series([decimal.Decimal("1.50")]),
        ),
    ],
)
def test_typed_columns_give_the_same_text(
    in_pandas: Callable[[], pd.Series[Any]], in_polars: Callable[[], pl.Series]
) -> None:
    assert as_text(in_pandas().tolist()[0]) == as_text(in_polars().to_list()[0])


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)


@given(json_like)
def test_any_nested_value_has_a_text_that_can_be_sent(value: object) -> None:
    as_text(value).encode()


def test_a_parameter_of_bytes_that_are_no_text_is_refused_and_named() -> None:
    assert Template.compile("{a} {p}", ["a"], {"p": b"fine"}).render(["x"]) == Prompt("x fine")
    with pytest.raises(PromptError, match="Parameter 'p' is 2 bytes that are no UTF-8 text"):
        Template.compile("{a} {p}", ["a"], {"p": b"\xff\xd8"})
