"""Frames: rows out in order, columns in by position, whichever library they come from."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ondine_nb.data.columns import Column, native_rows
from ondine_nb.data.frames import frames_in, records_frame, wrap
from ondine_nb.errors import ColumnError, ConfigurationError
from ondine_nb.prompts import as_text

KINDS = ["pandas", "polars"]
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def frame_of(kind: str, data: dict[str, Any]) -> Any:
    return pd.DataFrame(data) if kind == "pandas" else pl.DataFrame(data, strict=False)


def cells(native: Any, column: str) -> list[Any]:
    return [row[0] for rows in wrap(native).iter_rows([column]) for row in rows]


def built(kind: str, column: Column) -> Any:
    """The series that `column` becomes, at the end of a frame of its length."""
    native = frame_of(kind, {"a": [0] * len(column.values)})
    return wrap(native).with_columns([column])[column.name]


# --- alignment


@st.composite
def indexes(draw: st.DrawFn, n: int) -> pd.Index:
    labels = st.lists(st.integers(0, 3), min_size=n, max_size=n)
    match draw(st.sampled_from(["range", "doubled", "shuffled", "multi", "dates", "text"])):
        case "doubled":
            return pd.Index(draw(labels), dtype="int64", name="key")
        case "shuffled":
            return pd.Index(draw(st.permutations(range(n))), dtype="int64")
        case "multi":
            return pd.MultiIndex.from_arrays([draw(labels), draw(labels)], names=["x", None])
        case "dates":
            return pd.DatetimeIndex(["2020-01-01"] * n)
        case "text":
            return pd.Index([f"r{label}" for label in draw(labels)], dtype="str")
    return pd.RangeIndex(n)


@st.composite
def pandas_frames(draw: st.DrawFn) -> pd.DataFrame:
    n = draw(st.integers(0, 8))
    floats = st.lists(
        st.one_of(st.floats(allow_nan=False), st.just(float("nan"))), min_size=n, max_size=n
    )
    texts = st.lists(st.one_of(st.none(), st.text(max_size=5)), min_size=n, max_size=n)
    safe = [t if t is None else t.encode("utf-8", "replace").decode() for t in draw(texts)]
    data = {"number": draw(floats), "text": pd.array(safe, dtype="str"), "row": np.arange(n)}
    frame = pd.DataFrame(data)
    frame.index = draw(indexes(n))
    frame.attrs = {"source": ["survey"]}
    return frame


@quick
@given(pandas_frames(), st.data())
def test_row_i_of_a_new_pandas_column_belongs_to_row_i(
    frame: pd.DataFrame, data: st.DataObject
) -> None:
    before, attrs = frame.copy(deep=True), copy.deepcopy(frame.attrs)
    values = data.draw(
        st.lists(st.one_of(st.none(), st.integers()), min_size=len(frame), max_size=len(frame))
    )
    new = [Column("answer", "json", values), Column("text", "json", values)]
    result = wrap(frame).with_columns(new)
    assert list(result.columns) == ["number", "text", "row", "answer"]
    assert list(result["answer"]) == list(result["text"]) == values
    pd.testing.assert_frame_equal(result[["number", "row"]], before[["number", "row"]])
    pd.testing.assert_index_equal(result.index, before.index)
    assert result.attrs == attrs
    pd.testing.assert_frame_equal(frame, before)
    assert frame.attrs == attrs


@pytest.mark.parametrize("index", [[0, 1], ["k", "k"], [None, None], [(1, None), (1, None)]])
def test_a_pandas_column_of_objects_is_one_whatever_its_values_are(index: list[Any]) -> None:
    frame = pd.DataFrame({"a": [1, 2], "old": [3, 4]}, index=pd.Index(index))
    for values in (["x", "y"], [["x"], None], [None, None], []):
        new = [Column(name, "json", values) for name in ("old", "new")]
        made = wrap(frame[: len(values)]).with_columns(new)
        assert [str(made[name].dtype) for name in ("old", "new")] == ["object"] * 2
        assert [made[name].tolist() for name in ("old", "new")] == [values] * 2
        assert str(records_frame("pandas", new[1:])["new"].dtype) == "object"
        rows = native_rows("pandas", [{"new": value} for value in values], {"new": "any"}, start=5)
        assert str(rows["new"].dtype) == "object"
        assert rows["new"].tolist() == values


@quick
@given(pandas_frames(), st.data())
def test_row_i_of_a_new_polars_column_belongs_to_row_i(
    origin: pd.DataFrame, data: st.DataObject
) -> None:
    frame = pl.DataFrame(
        {name: cells(origin, name) for name in origin.columns},
        schema={"number": pl.Float64, "text": pl.String, "row": pl.Int32},
    )
    before = frame.clone()
    size = len(frame)
    values = data.draw(
        st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=size, max_size=size)
    )
    new = [Column("answer", "int", values), Column("text", "int", values)]
    result = wrap(frame).with_columns(new)
    assert result.columns == ["number", "text", "row", "answer"]
    assert result["answer"].to_list() == result["text"].to_list() == values
    assert_frame_equal(result.select("number", "row"), before.select("number", "row"))
    assert_frame_equal(frame, before)


@quick
@given(pandas_frames(), st.data())
def test_rows_come_in_order_or_at_the_positions_asked_for(
    frame: pd.DataFrame, data: st.DataObject
) -> None:
    n = len(frame)
    size, start = data.draw(st.integers(1, 4)), data.draw(st.integers(0, n))
    places = data.draw(st.one_of(st.none(), st.lists(st.integers(0, max(n - 1, 0)), max_size=n)))
    expected = (list(range(n)) if places is None else places)[start:]
    for native in (frame, pl.from_pandas(frame)):
        chunks = list(wrap(native).iter_rows(["row", "row"], start, size, places))
        assert [row for rows in chunks for row in rows] == [(i, i) for i in expected]
        assert all(len(rows) == size for rows in chunks[:-1])


@quick
@given(pandas_frames())
def test_both_kinds_give_the_same_cells(frame: pd.DataFrame) -> None:
    other = pl.from_pandas(frame)
    for column in frame.columns:
        assert [*map(repr, cells(frame, column))] == [*map(repr, cells(other, column))]


@quick
@given(pandas_frames(), st.data())
def test_taken_rows_keep_index_dtypes_and_attrs(frame: pd.DataFrame, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, max(len(frame) - 1, 0)), max_size=len(frame)))
    taken = wrap(frame).take(places)
    assert cells(taken.native, "row") == places
    pd.testing.assert_index_equal(taken.native.index, frame.index[places])
    assert taken.native.attrs == frame.attrs
    assert list(taken.native.dtypes) == list(frame.dtypes)
    other = wrap(pl.from_pandas(frame)).take(places)
    assert other.native["row"].to_list() == places
    assert other.native.schema == pl.from_pandas(frame).schema


# --- cells

MOMENT = datetime(2024, 2, 29, 13, 5, 6, 789)
CELLS: list[tuple[str, Any, Any, list[Any]]] = [
    ("ints", pd.array([1, 2**63 - 1]), pl.Series([1, 2**63 - 1]), [1, 2**63 - 1]),
    ("unsigned", np.array([2**64 - 1], "u8"), pl.Series([2**64 - 1], dtype=pl.UInt64), [2**64 - 1]),
    ("Int64", pd.array([1, None], "Int64"), pl.Series([1, None]), [1, None]),
    ("ints with a gap", [1, None], pl.Series([1.0, float("nan")]), [1.0, None]),
    ("bools", [True, False], pl.Series([True, False]), [True, False]),
    ("boolean", pd.array([True, None], "boolean"), pl.Series([True, None]), [True, None]),
    ("infinite", [float("-inf")], pl.Series([float("-inf")]), [float("-inf")]),
    (
        "float32",
        np.array([0.1, 1e-45, np.nan, np.inf, 2**24], "f4"),
        pl.Series([0.1, 1e-45, float("nan"), float("inf"), 2**24], dtype=pl.Float32),
        [0.1, 1e-45, None, float("inf"), 16777216.0],
    ),
    ("Float32", pd.array([0.1, None], "Float32"), pl.Series([0.1, None], dtype=pl.Float32),
     [0.1, None]),
    ("arrow float", pd.array([0.1, None], "float[pyarrow]"), pl.Series([0.1, None]), [0.1, None]),
    ("float16", np.array([0.5], "f2"),
     pl.Series([0.5], dtype=getattr(pl, "Float16", pl.Float32)), [0.5]),  # since polars 1.36
    ("sparse", pd.arrays.SparseArray([0.5, np.nan]), pl.Series([0.5, None]), [0.5, None]),
    ("sparse ints", pd.arrays.SparseArray([0, 2]), pl.Series([0, 2]), [0, 2]),
    ("sparse float32", pd.arrays.SparseArray(np.array([0.1, np.nan], "f4")),
     pl.Series([0.1, None], dtype=pl.Float32), [0.1, None]),
    ("str", pd.array(["é", None], "str"), pl.Series(["é", None]), ["é", None]),
    ("arrow str", pd.array(["é", None], "string[pyarrow]"), pl.Series(["é", None]), ["é", None]),
    ("object", pd.Series(["a", None, pd.NA, pd.NaT, np.nan], dtype=object),
     pl.Series(["a", None, None, None, None]), ["a", None, None, None, None]),
    ("category", pd.Categorical(["b", None, "a"]),
     pl.Series(["b", None, "a"], dtype=pl.Categorical), ["b", None, "a"]),
    ("moments", pd.to_datetime([MOMENT, None]), pl.Series([MOMENT, None]), [MOMENT, None]),
    ("dates", pd.Series([date(2024, 2, 29), None], dtype=object),
     pl.Series([date(2024, 2, 29), None]), [date(2024, 2, 29), None]),
    ("spans", pd.to_timedelta([timedelta(1), None]), pl.Series([timedelta(1), None]),
     [timedelta(1), None]),
    ("decimals", pd.Series([Decimal("1.10")], dtype=object), pl.Series([Decimal("1.10")]),
     [Decimal("1.10")]),
    ("bytes", pd.Series([b"a"], dtype=object), pl.Series([b"a"]), [b"a"]),
    ("lists", pd.Series([[1, 2], None], dtype=object), pl.Series([[1, 2], None]), [[1, 2], None]),
    ("arrays", pd.Series([np.array([1, 2]), None], dtype=object), pl.Series([[1, 2], None]),
     [[1, 2], None]),
    ("float32 arrays", pd.Series([np.array([0.1], "f4")], dtype=object),
     pl.Series([[0.1]], dtype=pl.List(pl.Float32)), [[0.1]]),
    ("float32 deep", pd.Series([{"a": [np.float32(0.1)]}], dtype=object),
     pl.Series([{"a": [0.1]}], dtype=pl.Struct({"a": pl.Array(pl.Float32, 1)})), [{"a": [0.1]}]),
    ("arrays of structs", pd.Series([np.array([{"a": np.int64(1)}])], dtype=object),
     pl.Series([[{"a": 1}]]), [[{"a": 1}]]),
    ("grids", pd.Series([np.array([[1, 2]])], dtype=object), pl.Series([[[1, 2]]]), [[[1, 2]]]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("label", "pandas", "polars", "expected"), CELLS, ids=lambda v: str(v)[:20]
)
def test_cells_are_python_values_and_equal_in_both_kinds(
    label: str, pandas: Any, polars: Any, expected: list[Any]
) -> None:
    for native in (pd.DataFrame({"a": pandas}), polars.alias("a").to_frame()):
        got = cells(native, "a")
        assert repr(got) == repr(expected), label
        assert [type(value) for value in got] == [type(value) for value in expected]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Paris"])
@pytest.mark.parametrize("tick", [0, 1, -1, 1_711_846_800_123_456_789, -1_000_001])
def test_datetimes_have_the_same_iso_text_down_to_the_nanosecond(
    unit: str, zone: str | None, tick: int
) -> None:
    native = pd.DataFrame({"a": pd.to_datetime([tick]).as_unit(unit)})
    if zone:
        native["a"] = native["a"].dt.tz_localize("UTC").dt.tz_convert(zone)
    ours, theirs = cells(native, "a")[0], cells(pl.from_pandas(native), "a")[0]
    assert ours.isoformat() == theirs.isoformat() == native["a"][0].isoformat()
    assert str(ours) == str(theirs)
    assert (type(ours) is datetime) == (type(theirs) is datetime)


def test_a_polars_object_column_is_read_as_pandas_would() -> None:
    class Thing:
        pass

    thing = Thing()
    native = pl.DataFrame([pl.Series("a", [thing, None, float("nan")], dtype=pl.Object)])
    assert cells(native, "a") == [thing, None, None]


@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_thousand_rows_come_in_chunks(kind: str) -> None:
    frame = wrap(frame_of(kind, {"a": range(100_000), "b": ["x"] * 100_000}))
    sizes, count = [], 0
    for rows in frame.iter_rows(["a", "b"], start=100, size=999):
        assert rows[0] == (100 + count, "x")
        sizes.append(len(rows))
        count += len(rows)
    assert sizes == [999] * 100
    assert len(next(frame.iter_rows(["a"]))) == 500


@pytest.mark.parametrize("kind", KINDS)
def test_without_columns_there_are_still_rows(kind: str) -> None:
    assert list(wrap(frame_of(kind, {"a": [1, 2, 3]})).iter_rows([], size=2)) == [[(), ()], [()]]


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_column_is_an_error_at_the_call_with_the_nearest_name(kind: str) -> None:
    frame = wrap(frame_of(kind, {"review": ["a"], "stars": [1]}), "reviews")
    with pytest.raises(
        ColumnError, match=r"^reviews has no column 'reveiw': did you mean 'review'"
    ):
        frame.iter_rows(["reveiw"])
    with pytest.raises(ColumnError, match="it has 'review', 'stars'"):
        frame.iter_rows(["qqq"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_changed_in_place_after_wrapping_is_read_as_it_was(kind: str) -> None:
    native = frame_of(kind, {"a": [1, 2]})
    frame = wrap(native)
    if kind == "pandas":
        native.loc[0, "a"] = 99
        native["z"] = 0
        native.index = [5, 5]
    else:
        native[0, "a"] = 99
        native.insert_column(0, pl.Series("z", [0, 0]))
    assert list(frame.iter_rows(["a"])) == [[(1,), (2,)]]
    assert frame.native is native
    assert len(frame.with_columns([Column("b", "int", [3, 4])])) == 2


# --- dtypes of new columns

DTYPES: list[tuple[str, Any, Any, list[Any], tuple[Any, ...] | None]] = [
    ("str", "str", pl.String, ["é", ""], None),
    ("int", "Int64", pl.Int64, [2**63 - 1, -(2**63)], None),
    ("float", "Float64", pl.Float64, [1.5, float("inf")], None),
    ("bool", "boolean", pl.Boolean, [True, False], None),
    ("date", "datetime64[us]", pl.Date, [date(1, 1, 1), date(9999, 12, 31)], None),
    (
        "datetime",
        "datetime64[us, UTC]",
        pl.Datetime("us", "UTC"),
        [MOMENT.replace(tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)],
        None,
    ),
    ("choice", "category", pl.Enum(["b", "a", "c"]), ["a", "b"], ("b", "a", "c")),
    ("list[str]", "object", pl.List(pl.String), [["a", None], []], None),
    ("list[int]", "object", pl.List(pl.Int64), [[1], [2]], None),
    ("list[float]", "object", pl.List(pl.Float64), [[1.0, 2.0], [3.0, 4.0]], None),
    ("list[bool]", "object", pl.List(pl.Boolean), [[True], []], None),
    ("list[date]", "object", pl.List(pl.Date), [[date(2024, 1, 1)], []], None),
    ("json", "object", pl.String, [{"a": 1}, [{"b": 2}]], None),
]


@pytest.mark.parametrize(("kind", "pandas", "polars", "values", "choices"), DTYPES)
def test_each_kind_has_its_dtype_full_missing_or_empty(
    kind: str, pandas: str, polars: Any, values: list[Any], choices: tuple[Any, ...] | None
) -> None:
    for some in ([*values, None], [None], []):
        column = Column("new", kind, some, choices)
        ours, theirs = built("pandas", column), built("polars", column)
        assert str(ours.dtype) == pandas
        assert theirs.dtype == polars
        assert list(ours.isna()) == theirs.is_null().to_list() == [v is None for v in some]
        texts = kind == "json"
        got = [v if v is None or not texts else json.loads(v) for v in theirs.to_list()]
        assert got == some
        back = [None if gone else v for v, gone in zip(ours.tolist(), ours.isna(), strict=True)]
        if kind == "date":
            back = [v if v is None else v.date() for v in back]
        assert back == some
    assert records_frame("polars", [column]).schema == {"new": polars}
    assert str(records_frame("pandas", [column])["new"].dtype) == pandas


def test_choices_keep_their_order_and_appear_once() -> None:
    column = Column("new", "choice", ["b", None], ("b", "a", "b", None))
    assert list(built("pandas", column).cat.categories) == ["b", "a"]
    assert not built("pandas", column).cat.ordered
    assert built("polars", column).dtype.categories.to_list() == ["b", "a"]


@pytest.mark.parametrize(
    ("choices", "values", "dtype"),
    [((1, 2), [2, None], pl.Int64), ((True, False), [False], pl.Boolean),
     ((0.5, 1.5), [0.5], pl.Float64), ((1, "a"), [1], pl.String)],
)  # fmt: skip
def test_choices_that_are_not_text_keep_their_type(
    choices: tuple[Any, ...], values: list[Any], dtype: Any
) -> None:
    column = Column("new", "choice", values, choices)
    assert built("polars", column).dtype == dtype
    assert list(built("pandas", column).cat.categories) == list(choices)


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_that_is_no_choice_is_an_error_not_a_gap(kind: str) -> None:
    with pytest.raises(ValueError, match="'new': 'c' is not among its choices"):
        built(kind, Column("new", "choice", ["c"], ("a", "b")))


@pytest.mark.parametrize("library", KINDS)
@pytest.mark.parametrize("kind", ["int", "list[int]"])
def test_an_integer_past_64_bits_is_an_error_that_names_it(library: str, kind: str) -> None:
    value: Any = 2**63 if kind == "int" else [1, 2**63]
    with pytest.raises(ValueError, match=f"column 'new' .* and {2**63} has more than 64 bits"):
        built(library, Column("new", kind, [1 if kind == "int" else [1], value]))
    with pytest.raises(TypeError):
        built(library, Column("new", "int", [1.5]))


def test_datetimes_are_utc_whatever_their_values_say() -> None:
    paris = timezone(timedelta(hours=2))
    values = [MOMENT.replace(tzinfo=paris), MOMENT, None, datetime(1, 1, 1, tzinfo=paris)]
    for some in (values, values[:1], values[1:2], [None]):
        ours, theirs = (built(kind, Column("new", "datetime", some)) for kind in KINDS)
        assert str(ours.dtype) == "datetime64[us, UTC]"
        assert theirs.dtype == pl.Datetime("us", "UTC")
    ours, theirs = (built(kind, Column("new", "datetime", values)) for kind in KINDS)
    expected = [MOMENT.replace(tzinfo=UTC) - timedelta(hours=2), MOMENT.replace(tzinfo=UTC)]
    assert theirs.to_list()[:3] == [*expected, None]
    assert [*cells(ours.to_frame(), "new")] == theirs.to_list()


def test_values_are_made_to_fit_their_kind() -> None:
    for kind in KINDS:
        assert cells_of(kind, "float", [1, float("nan"), 10**400]) == [1.0, None, float("inf")]
        assert cells_of(kind, "int", [True]) == [1]
        assert cells_of(kind, "str", [1]) == ["1"]
        assert cells_of(kind, "datetime", [date(2024, 1, 1)]) == [datetime(2024, 1, 1, tzinfo=UTC)]
    assert cells_of("polars", "date", [MOMENT]) == [date(2024, 2, 29)]


def cells_of(kind: str, column_kind: str, values: Sequence[Any]) -> list[Any]:
    return cells(records_frame(kind, [Column("new", column_kind, values)]), "new")


@pytest.mark.parametrize("kind", KINDS)
def test_a_lone_surrogate_becomes_the_replacement_character(kind: str) -> None:
    lone, pair, fine = "a\ud800b", "\ud83d\ude00", "\ufeffé😀"
    assert cells_of(kind, "str", [lone, pair, fine]) == ["a\ufffdb", "😀", fine]
    assert cells_of(kind, "list[str]", [[lone]]) == [["a\ufffdb"]]
    nested = cells_of(kind, "json", [{lone: [lone, 1]}])[0]
    nested = json.loads(nested) if kind == "polars" else nested
    assert nested == {"a\ufffdb": ["a\ufffdb", 1]}
    choice = Column("new", "choice", [lone], (lone,))
    assert cells(records_frame(kind, [choice]), "new") == ["a\ufffdb"]


def test_json_in_polars_drops_no_key() -> None:
    values = [{"a": 1}, None, {"b": "é"}]
    texts = built("polars", Column("new", "json", values)).to_list()
    assert texts == ['{"a": 1}', None, '{"b": "é"}']


def test_equal_lists_stay_cells_in_pandas() -> None:
    for values in ([[1, 2], [3, 4]], [[1, 2]], [{"a": 1}]):
        assert list(built("pandas", Column("new", "json", values))) == values


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_of_the_wrong_length_is_never_broadcast(kind: str) -> None:
    frame = wrap(frame_of(kind, {"a": [1, 2, 3]}))
    with pytest.raises(ValueError, match="'b' has 1 values for 3 rows"):
        frame.with_columns([Column("b", "int", [1])])


def test_an_unknown_kind_or_misplaced_choices_are_errors() -> None:
    for kind, choices in (("text", None), ("choice", None), ("str", ("a",)), ("list[json]", None)):
        with pytest.raises(ValueError, match="column 'a'"):
            Column("a", kind, [], choices)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_can_be_put_in_again_and_again_while_a_run_goes_on(kind: str) -> None:
    frame = wrap(frame_of(kind, {"a": [1, 2]}))
    for values in ([None, None], [5, None], [5, 6]):
        native = frame.with_columns([Column("b", "int", values)])
        assert list(wrap(native).iter_rows(["a", "b"])) == [[(1, values[0]), (2, values[1])]]
    assert frame.columns == tuple(frame.native.columns) == ("a",)


# --- names


class Survey(pd.DataFrame):
    """A subclass with metadata of its own, as GeoDataFrame is."""

    _metadata = ["place"]  # noqa: RUF012

    @property
    def _constructor(self) -> type[Survey]:
        return Survey


def test_a_pandas_subclass_stays_one() -> None:
    native = Survey({"a": [1, 2]}, index=[7, 7])
    native.place = "Rome"
    result = wrap(native).with_columns([Column("b", "str", ["x", None])])
    assert type(result) is Survey
    assert result.place == "Rome"
    assert list(result.index) == [7, 7]
    assert type(wrap(native).take([1]).native) is Survey


def test_names_that_are_not_text_count_by_their_text() -> None:
    frame = wrap(pd.DataFrame([[1, 2]], columns=[0, "b"]))
    assert frame.columns == ("0", "b")
    assert list(frame.iter_rows(["0"])) == [[(1,)]]
    result = frame.with_columns([Column("0", "int", [5]), Column("c", "int", [6])])
    assert list(result.columns) == [0, "b", "c"]
    assert result.iloc[0].tolist() == [5, 2, 6]


def test_multiindex_columns_take_a_new_column_at_their_end() -> None:
    names = pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])
    frame = wrap(pd.DataFrame([[1, 2]], columns=names))
    assert frame.columns == ("('a', 'x')", "('a', 'y')")
    result = frame.with_columns([Column("a", "int", [3])])
    assert list(result.columns) == [("a", "x"), ("a", "y"), ("a", "")]
    assert result.iloc[0].tolist() == [1, 2, 3]
    with pytest.raises(ColumnError):
        wrap(result).check_new(["a"], overwrite=False)
    again = wrap(result).with_columns([Column("a", "int", [4])])
    assert again.iloc[0].tolist() == [1, 2, 4]


def test_categorical_column_names_take_a_new_one() -> None:
    frame = wrap(pd.DataFrame([[1, 2]], columns=pd.CategoricalIndex(["x", "y"])))
    assert list(frame.with_columns([Column("z", "int", [3])]).columns) == ["x", "y", "z"]


@pytest.mark.parametrize("columns", [["a", "a"], [1, "1"], [("a",), "('a',)"]])
def test_two_columns_of_one_name_are_an_error(columns: list[Any]) -> None:
    native = pd.DataFrame([[1, 2]])
    native.columns = pd.Index(columns, dtype=object, tupleize_cols=False)
    with pytest.raises(ColumnError, match=r"^reviews has more than one column named .*: rename"):
        wrap(native, "reviews")


@pytest.mark.parametrize("native", [pd.DataFrame(), pd.DataFrame(index=[1]), pl.DataFrame()])
def test_a_frame_without_columns_is_an_error(native: Any) -> None:
    with pytest.raises(ColumnError, match=r"^reviews has no columns"):
        wrap(native, "reviews")


@pytest.mark.parametrize("kind", KINDS)
def test_new_names_must_be_new_unless_overwritten(kind: str) -> None:
    frame = wrap(frame_of(kind, {"a": [1], "b": [2]}), "reviews")
    frame.check_new(["c"], overwrite=False)
    frame.check_new(["a"], overwrite=True)
    with pytest.raises(ColumnError) as raised:
        frame.check_new(["a", "c", "b"], overwrite=False)
    assert str(raised.value) == (
        "reviews already has columns 'a', 'b': choose another name with --column, "
        "or add --overwrite"
    )
    for overwrite in (True, False):
        with pytest.raises(ColumnError, match="two new columns would be named 'c'"):
            frame.check_new(["c", "d", "c"], overwrite=overwrite)
    with pytest.raises(ColumnError, match="'c'"):
        frame.with_columns([Column("c", "int", [1]), Column("c", "int", [2])])


# --- what is no frame

BAD = [
    (None, "data is None: did the call that made it change its frame in place?"),
    (pd.Series([1]), "data is a pandas Series: make a frame of it with data.to_frame()"),
    (pl.Series([1]), "data is a polars Series: make a frame of it with data.to_frame()"),
    (pl.LazyFrame({"a": [1]}), "data is a polars LazyFrame: collect it first, with data.collect()"),
    ([{"a": 1}], "data is a list: make a frame of it with pandas.DataFrame(data)"),
    ({"a": [1]}, "data is a dict: make a frame of it with pandas.DataFrame(data)"),
    (np.zeros(2), "data is a numpy ndarray: make a frame of it with pandas.DataFrame(data, col"),
    ("a.csv", "data is a str: read the file first, with pandas.read_csv(…) or polars.read_csv"),
    (Path("a.csv"), "data is a pathlib PosixPath: read the file first, with pandas.read_csv(…)"),
    (pl.DataFrame({"a": [1]}).to_arrow(), "data is a pyarrow Table: make a frame of it with data"),
    (pd.DataFrame, "data is a type: give a pandas or polars DataFrame"),
    (7, "data is an int: give a pandas or polars DataFrame"),
]


@pytest.mark.parametrize(("data", "message"), BAD, ids=[type(data).__name__ for data, _ in BAD])
def test_what_is_no_frame_is_named_with_its_remedy_in_one_line(data: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        wrap(data)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_frames_in_names_frames_and_touches_nothing_else() -> None:
    class Touchy:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(f"touched: {name}")

    namespace: dict[Any, Any] = {"reviews": pd.DataFrame(), "_": pd.DataFrame(), "n": 1}
    namespace |= {"proxy": Touchy(), "other": pl.DataFrame(), "lazy": pl.LazyFrame()}
    namespace |= {"series": pd.Series(), "class": pd.DataFrame, 3: pd.DataFrame()}
    assert frames_in(namespace) == ["reviews", "other"]


# --- whole frames


@pytest.mark.parametrize("kind", KINDS)
def test_records_become_a_frame(kind: str) -> None:
    native = records_frame(kind, [Column("row", "int", [3, 1]), Column("why", "str", ["x", None])])
    assert wrap(native).kind == kind
    assert list(wrap(native).iter_rows(["row", "why"])) == [[(3, "x"), (1, None)]]
    if kind == "pandas":
        assert isinstance(native.index, pd.RangeIndex)
    assert len(records_frame(kind, [])) == 0
    with pytest.raises(ColumnError):
        records_frame(kind, [Column("a", "int", []), Column("a", "int", [])])
    with pytest.raises(ValueError, match="one length"):
        records_frame(kind, [Column("a", "int", []), Column("b", "int", [1])])


def test_a_sample_is_the_same_for_both_kinds_sorted_and_fixed_by_its_seed() -> None:
    ours, theirs = (wrap(frame_of(kind, {"a": range(50)})) for kind in KINDS)
    sample = ours.sample_positions(10)
    assert sample == theirs.sample_positions(10) == sorted(set(sample))
    assert len(sample) == 10
    assert sample != ours.sample_positions(10, seed=1)
    assert ours.sample_positions(50) == ours.sample_positions(99) == list(range(50))
    assert ours.sample_positions(0) == ours.sample_positions(-1) == []


ALONE = """
import sys
from ondine_nb.data import frames_in, wrap
import {kind} as library
frame = wrap(library.DataFrame({{"a": ["x", "y"], "b": [{{"k": 1}}, {{"k": 2}}]}}))
try:
    wrap([1])
except ValueError:
    pass
assert frames_in({{"f": frame.native}}) == ["f"]
assert list(frame.iter_rows(["a"])) == [[("x",), ("y",)]]
assert "{other}" not in sys.modules
"""


@pytest.mark.parametrize(("kind", "other"), [KINDS, KINDS[::-1]])
def test_neither_library_is_imported_for_the_other(kind: str, other: str) -> None:
    script = ALONE.format(kind=kind, other=other)
    env = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_importing_frames_imports_neither_library() -> None:
    script = "import sys, ondine_nb.data; sys.exit(bool({'pandas', 'polars'} & {*sys.modules}))"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", script], cwd=root, check=False).returncode == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_series_is_aligned_by_position_and_one_of_another_length_is_refused(kind: str) -> None:
    library: Any = pd if kind == "pandas" else pl
    frame = wrap(library.DataFrame({"a": [1, 2, 3]}), "reviews")
    assert frame.align(library.Series([4, None, 6])) == [4, None, 6]
    assert frame.align(np.array([4, 5, 6])) == [4, 5, 6]
    with pytest.raises(ColumnError, match="2 values, and reviews has 3 rows"):
        frame.align([1, 2])


def test_a_pandas_series_is_aligned_by_index_where_that_tells_more_than_position() -> None:
    frame = wrap(pd.DataFrame({"a": [1, 2, 3]}, index=[10, 20, 30]))
    assert frame.align(pd.Series(["x", "y"], index=[30, 20])) == [None, "y", "x"]
    assert frame.align(pd.Series(["x", "y", "z"])) == ["x", "y", "z"]
    with pytest.raises(ColumnError, match="2 values"):
        frame.align(pd.Series(["x", "y"]))
    doubled = wrap(pd.DataFrame({"a": [1, 2, 3]}, index=[10, 10, 30]))
    assert doubled.align(pd.Series(["x", "y", "z"], index=[30, 20, 10])) == ["x", "y", "z"]


def test_a_large_grid_stays_an_array_with_the_text_that_its_lists_have() -> None:
    grid = np.arange(400, dtype=np.float32).reshape(20, 20) / 10
    (cell,) = cells(pd.DataFrame({"a": [grid]}), "a")
    small = [[float(str(number)) for number in row] for row in grid]
    assert cell is grid
    assert as_text(cell) == as_text(small)
