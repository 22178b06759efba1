"""The same data gives the same prompts by whichever door they come in."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ondine_nb.data.open import open_source
from ondine_nb.prompts import JinjaTemplate, Template

KINDS = ["pandas", "polars"]

halves = st.sampled_from(["\ud83d", "a\ude00b", "\ud83d\ude00"])
words = st.sampled_from(["NA", "None", "null", "nan", "true", "01234", "1e5", " x ", "é😀"])
texts = st.text(max_size=6) | words | halves
JINJA = (
    "{{ n }} {{ x }} {% if x is mapping %}{{ x.a }} {{ x['in'] }} {{ x.c }} {{ x | length }}"
    "{% for key, item in x.items() %}{{ key }}={{ item }};{% endfor %}"
    "{% elif x is sequence and x is not string %}{% for item in x %}[{{ item }}]{% endfor %}"
    "{% endif %}"
)
ints = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 2**53 + 1])
floats = st.floats(allow_nan=False, allow_infinity=False) | st.just(9007199254740992.0)


def some(cell: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.none() | cell, max_size=3)


@st.composite
def in_any_order(draw: st.DrawFn, keys: dict[str, Any]) -> dict[str, Any]:
    """Some of `keys`, in an order of each row's own."""
    some_keys = draw(st.permutations(list(keys)))[: draw(st.integers(0, len(keys)))]
    return {key: draw(keys[key]) for key in some_keys}


structs = in_any_order({"a": st.none() | ints, "b": st.none() | texts, "c": some(floats)})
CELLS = {
    "text": texts,
    "int": ints,
    "float": floats,
    "bool": st.booleans(),
    "ints": some(ints),
    "floats": some(floats),
    "texts": some(texts),
    "lists": some(some(ints)),
    "struct": structs,
    "structs": some(structs),
    "mixed": some(ints | texts | structs),
    "numbers": some(st.integers(-9, 9) | st.just(1.0) | st.floats(-1e3, 1e3)),
    "struct of numbers": in_any_order({"a": st.sampled_from([1, 1.0, 2.5]), "b": some(floats)}),
    "mixed struct": in_any_order({"a": ints | texts, "b": floats}),
    "nested": st.fixed_dictionaries({"in": structs}),
}


@functools.cache
def compiled(columns: tuple[str, ...], jinja: bool) -> Template | JinjaTemplate:
    """Once for all doors: it takes Jinja longer than a door to be opened."""
    if jinja:
        return JinjaTemplate.compile(JINJA, columns)
    return Template.compile("<{x}> {n}", columns)


def prompts(data: Any, kind: str | None = None, *, jinja: bool = False) -> list[str | None]:
    source = open_source(data, kind=kind)
    template = compiled(tuple(source.columns), jinja)
    rows = [
        row
        for frame in source.frames(2)
        for part in frame.iter_rows(template.columns)
        for row in part
    ]
    made = [template.render(row) for row in rows]
    return [None if prompt is None else prompt.text for prompt in made]


def open_doors(
    values: list[Any], folder: Path, *, jinja: bool = False
) -> Iterator[tuple[str, list[str | None]]]:
    """Those by which Python's own values come, of whatever types they are."""
    rows = [{"n": at, "x": value} for at, value in enumerate(values)]
    native = pd.DataFrame({"n": range(len(values)), "x": pd.Series(values, dtype=object)})
    yield "frame", prompts(native, jinja=jinja)
    lines = folder / "a.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for kind in KINDS:
        yield f"list {kind}", prompts(rows, kind, jinja=jinja)
        yield f"generator {kind}", prompts(iter(rows), kind, jinja=jinja)
        yield f"jsonl {kind}", prompts(lines, kind, jinja=jinja)


def doors(values: list[Any], folder: Path) -> Iterator[tuple[str, list[str | None]]]:
    """All of them: a column of polars and of Parquet has one type."""
    yield from open_doors(values, folder)
    rows = [{"n": at, "x": value} for at, value in enumerate(values)]
    frame = pl.concat([part.native for part in open_source(rows, kind="polars").frames(5_000)])
    yield "polars frame", prompts(frame)
    frame.write_parquet(folder / "a.parquet")
    for kind in KINDS:
        yield f"parquet {kind}", prompts(folder / "a.parquet", kind)


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_door_gives_the_same_prompts(cell: str, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.none() | CELLS[cell], min_size=1, max_size=4))
    which = open_doors if "numbers" in cell else doors
    with tempfile.TemporaryDirectory() as folder:
        found = dict(which(values, Path(folder)))
    for door, got in found.items():
        assert got == found["frame"], door


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_jinja_prompt_that_looks_into_values_is_the_same_by_every_door(
    cell: str, data: st.DataObject
) -> None:
    values = data.draw(st.lists(st.none() | CELLS[cell], min_size=1, max_size=4))
    with tempfile.TemporaryDirectory() as folder:
        found = dict(open_doors(values, Path(folder), jinja=True))
    for door, got in found.items():
        assert got == found["frame"], door


def test_what_prompts_read_as_it_came_has_one_type_in_the_frame_that_comes_out() -> None:
    rows = [{"v": [1, 2.5], "s": {"a": 1}, "o": [1, "x"]}, {"v": [3], "s": {"a": 0.5}, "o": None}]
    (frame,) = open_source(rows, kind="polars").frames(5)
    assert dict(frame.with_columns([]).schema) == {
        "v": pl.List(pl.Float64()),
        "s": pl.Struct({"a": pl.Float64()}),
        "o": pl.String(),
    }
    assert frame.native.to_dicts()[0] == {"v": [1.0, 2.5], "s": {"a": 1.0}, "o": '[1, "x"]'}
    (row,) = next(frame.take([0]).iter_rows(["v", "s", "o"]))
    assert repr(row) == "([1, 2.5], {'a': 1}, [1, 'x'])"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([9007199254740992.0, None], "[9007199254740992.0, null]"),
        ([9007199254740993, None], "[9007199254740993, null]"),
        ({"a": 1, "b": None}, '{"a": 1}'),
        ([{"a": None}, {"b": {"c": None}}], '[{}, {"b": {}}]'),
        ("a\ud83db", "a\ufffdb"),
        ("\ud83d\ude00", "😀"),
        ({}, "{}"),
        (
            {"b": 1, "a": {"d": 2, "c": [{"z": 1, "y": 2}]}},
            '{"a": {"c": [{"y": 2, "z": 1}], "d": 2}, "b": 1}',
        ),
    ],
    ids=str,
)
def test_what_one_door_would_change_is_the_same_by_all(
    value: Any, text: str, tmp_path: Path
) -> None:
    for door, got in doors([value, None], tmp_path):
        assert got[0] == f"<{text}> 0", door


codes = st.sampled_from(
    ["01234", "1", "", "-007", "2.50", "1e5", "NA", "None", "true", "TRUE", "x"]
)
codes |= st.sampled_from(["1E5", "9007199254740993"])
codes |= st.sampled_from(["9223372036854775808", "0.1", "1" * 30, "inf", "NaN", "0", "+1", " 1"])


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(cells=st.lists(codes, min_size=1, max_size=4))
@example(cells=["1", "2.5", ""])
@example(cells=["0.1", "1" * 30])
def test_a_csv_file_gives_the_same_prompts_from_both_libraries(cells: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_text("n,x\n" + "".join(f"{at},{cell}\n" for at, cell in enumerate(cells)))
        assert prompts(path, "pandas") == prompts(path, "polars")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("blank", ["1,a||2,b", "|1,a", "1,a|", "1,a||"])
def test_a_blank_line_of_a_csv_file_is_a_row_without_values_in_both_libraries(
    blank: str, end: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    lines = ["n,x", *blank.split("|")]
    path.write_bytes("".join(line + end for line in lines).encode())
    expected = [None if not line else f"<{line[2]}> {line[0]}" for line in lines[1:]]
    assert prompts(path, "pandas") == prompts(path, "polars") == expected


@pytest.mark.parametrize("kind", KINDS)
def test_values_of_several_types_in_a_column_have_the_text_of_a_frame(kind: str) -> None:
    values = [True, 1.0, "x", Decimal("1.50"), [1, {"a": None}], 2**70, {"d": [0.1]}, None]
    frame = pd.DataFrame({"n": range(8), "x": pd.Series(values, dtype=object)})
    rows = [{"n": at, "x": value} for at, value in enumerate(values)]
    assert prompts(rows, kind) == prompts(frame)
