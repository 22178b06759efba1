"""Sources: frames of a fixed size, in order, with the same dtypes, whatever the rows come from."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ondine_nb.data.open import open_source
from ondine_nb.data.source import Source
from ondine_nb.errors import ColumnError, ConfigurationError, RunError
from tests.patience import PATIENCE

KINDS = ["pandas", "polars"]
N = 12_345  # more than two blocks, no multiple of anything


def rows_of(source: Source, size: int = 1_000) -> list[tuple[Any, ...]]:
    """All rows as Python values."""
    frames = source.frames(size)
    return [row for frame in frames for rows in frame.iter_rows(source.columns) for row in rows]


def lengths(source: Source, size: int) -> list[int]:
    return [len(frame) for frame in source.frames(size)]


def table(n: int) -> dict[str, list[Any]]:
    return {"id": list(range(n)), "text": [f"text {at}" for at in range(n)]}


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def dicts(n: int) -> list[dict[str, Any]]:
    return [{"id": at, "text": f"text {at}"} for at in range(n)]


def opened(form: str, n: int, folder: Path) -> Source:
    """A source over `table(n)`, in one of the forms that data come in."""
    data = table(n)
    library, _, what = form.partition(" ")
    frame: Any = pd.DataFrame(data) if library == "pandas" else pl.DataFrame(data)
    if what == "frame":
        return open_source(frame)
    if what == "plan":
        return open_source(frame.lazy())
    if what == "list":
        return open_source(dicts(n), kind=library)
    if what == "generator":
        return open_source((row for row in dicts(n)), kind=library)
    if what == "frames":
        parts = [frame[at : at + 777] for at in range(0, n, 777)]
        return open_source(iter(parts))
    path = folder / f"data.{what}"
    match what:
        case "csv":
            pl.DataFrame(data).write_csv(path)
        case "csv.gz":
            path.write_bytes(gzip.compress(pl.DataFrame(data).write_csv().encode()))
        case "tsv":
            pl.DataFrame(data).write_csv(path, separator="\t")
        case "parquet":
            pl.DataFrame(data).write_parquet(path, row_group_size=3_000)
        case "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in dicts(n)))
    return open_source(path, kind=library)


WHATS = ["frame", "list", "generator", "frames", "csv", "csv.gz", "tsv", "parquet", "jsonl"]
FORMS = [f"{kind} {what}" for kind in KINDS for what in WHATS] + ["polars plan"]


@pytest.mark.parametrize("form", FORMS)
def test_frames_have_the_size_asked_for_and_hold_all_rows_in_order(
    form: str, tmp_path: Path
) -> None:
    source = opened(form, N, tmp_path)
    assert source.columns == ("id", "text")
    assert source.kind == form.split()[0]
    expected = list(zip(*table(N).values(), strict=True))
    position = 0
    for frame in source.frames(1_000):
        assert frame.kind == source.kind
        assert len(frame) == min(1_000, N - position)
        got = [row for rows in frame.iter_rows(source.columns) for row in rows]
        assert got == expected[position : position + len(frame)]
        position += len(frame)
    assert position == N


@pytest.mark.parametrize("form", FORMS)
def test_the_head_is_given_again_by_frames(form: str, tmp_path: Path) -> None:
    source = opened(form, N, tmp_path)
    assert len(source.head(0)) == 0
    assert source.head(0).columns == source.columns
    assert source.head(3).native["id"].to_list() == [0, 1, 2]
    assert source.head(6_001).native["id"].to_list() == list(range(6_001))
    assert len(source.head(2)) == 2
    assert [row[0] for row in rows_of(source, 250)] == list(range(N))


@pytest.mark.parametrize("form", FORMS)
def test_the_number_of_rows_is_known_but_for_plans_and_iterators(form: str, tmp_path: Path) -> None:
    unknown = form.split()[1] in ("plan", "generator", "frames")
    assert opened(form, 777, tmp_path).rows == (None if unknown else 777)


@pytest.mark.parametrize("form", FORMS)
def test_what_can_be_read_twice_gives_the_same_and_the_rest_says_so(
    form: str, tmp_path: Path
) -> None:
    source = opened(form, 2_000, tmp_path)
    first = rows_of(source)
    assert len(first) == 2_000
    if source.repeatable:
        assert rows_of(source) == first
        assert len(source.head(5)) == 5
    else:
        with pytest.raises(ConfigurationError, match="data can be read once, and it was"):
            source.frames(10)
    assert source.repeatable == (form.split()[1] not in ("generator", "frames"))


@pytest.mark.parametrize("form", FORMS)
def test_the_empty_frame_has_the_dtypes_of_every_chunk(form: str, tmp_path: Path) -> None:
    source = opened(form, N, tmp_path)
    empty = source.empty()
    assert len(empty) == 0
    for frame in source.frames(5_000):
        assert list(frame.native.dtypes) == list(empty.native.dtypes)


@pytest.mark.parametrize("what", ["frame", "csv", "parquet", "plan"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_give_no_frames(kind: str, what: str, tmp_path: Path) -> None:
    if (kind, what) == ("pandas", "plan"):
        pytest.skip("pandas has no plans")
    source = opened(f"{kind} {what}", 0, tmp_path)
    assert lengths(source, 10) == []
    assert len(source.head(5)) == 0
    assert source.empty().columns == ("id", "text")


@settings(max_examples=60, deadline=None)
@given(
    blocks=st.lists(st.integers(0, 7), max_size=8),
    size=st.integers(1, 9),
    looks=st.lists(st.integers(0, 30), max_size=3),
)
def test_frames_of_any_lengths_come_out_in_the_size_asked_for(
    blocks: list[int], size: int, looks: list[int]
) -> None:
    values = iter(range(100))
    frames = [
        pl.DataFrame({"x": [next(values) for _ in range(n)]}, {"x": pl.Int64}) for n in blocks
    ]
    total = sum(blocks)
    source = open_source(iter([pl.DataFrame({"x": []}, {"x": pl.Int64}), *frames]))
    for look in looks:
        assert source.head(look).native["x"].to_list() == list(range(min(look, total)))
    assert lengths(source, size) == [size] * (total // size) + [total % size] * bool(total % size)


def test_a_chunk_size_below_one_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="chunk size of 1 or more"):
        open_source(pl.DataFrame({"a": [1]})).frames(0)


# --- frames and plans


def test_a_pandas_frame_keeps_its_index_and_isnt_shifted_by_a_later_change() -> None:
    data = pd.DataFrame({"a": [1, 2, 3]}, index=[7, 7, 9])
    source = open_source(data, "df")
    data.loc[:, "a"] = 0
    frames = [frame.native for frame in source.frames(2)]
    assert [list(frame.index) for frame in frames] == [[7, 7], [9]]
    assert [list(frame["a"]) for frame in frames] == [[1, 2], [3]]


def test_a_plan_runs_once_for_a_look_and_all_frames() -> None:
    runs: list[int] = []

    def count(frame: pl.DataFrame) -> pl.DataFrame:
        runs.append(len(frame))
        return frame

    plan = pl.LazyFrame({"a": list(range(20_000))}).map_batches(count, streamable=False)
    source = open_source(plan)
    assert source.head(5).native["a"].to_list() == [0, 1, 2, 3, 4]
    assert [row[0] for row in rows_of(source)] == list(range(20_000))
    assert runs == [20_000]


def test_a_plan_left_half_read_ends_quietly(tmp_path: Path) -> None:
    code = """
import polars as pl
from ondine_nb.data import open_source
source = open_source(pl.LazyFrame({"a": range(1_000_000)}).with_columns(b=pl.col("a") * 2))
source.head(3)
frames = source.frames(10)
print(next(frames).native["b"][9])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert (done.stdout, done.stderr) == ("18\n", "")


def test_a_plan_that_fails_says_what_failed() -> None:
    with pytest.raises(ConfigurationError, match=r"plan can't be run: .*nope"):
        open_source(pl.LazyFrame({"a": [1]}).select("nope"), "plan")
    bad = pl.LazyFrame({"a": ["1", "x"]}).select(pl.col("a").cast(pl.Int64))
    with pytest.raises(RunError, match=r"plan can't be read further: .*'a'"):
        list(open_source(bad, "plan").frames(1))


# --- dtypes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("early", "late", "expected"),
    [
        ("1", "x", ["1", "x"]),
        ("", "x", [None, "x"]),
        ("1", "2.5", [1.0, 2.5]),
        ("", "7", [None, 7]),
        ("3", "", [3, None]),
        ("true", "", [True, None]),
        ("", "false", [None, False]),
        ("true", "maybe", ["true", "maybe"]),
        ("1", "9223372036854775808", None),
        ("2024-05-01", "2024-05-02", ["2024-05-01", "2024-05-02"]),
        ("", "", [None, None]),
    ],
)
def test_a_csv_column_has_one_dtype_throughout(
    kind: str, early: str, late: str, expected: list[Any] | None, tmp_path: Path
) -> None:
    lines = ["id,x", *(f"{at},{early}" for at in range(7_000)), f"7000,{late}"]
    source = open_source(written(tmp_path, "a.csv", "\n".join(lines) + "\n"), kind=kind)
    frames = [frame.native for frame in source.frames(1_000)]
    assert len({str(frame["x"].dtype) for frame in frames}) == 1
    values = [row[1] for row in rows_of(source)]
    assert len(values) == source.rows == 7_001
    if expected is None:
        assert [int(value) for value in (values[0], values[-1])] == [1, 2**63]
    else:
        assert [values[0], values[-1]] == expected


@pytest.mark.parametrize(
    "text", ["1,2\n3,4\n", "true,a\nfalse,b\n", "1.5,a\n2,\n", "1e5,x\n.3,y\n"]
)
def test_a_csv_file_reads_as_the_librarys_own_reader_does(text: str, tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", f"a,b\n{text}")
    in_pandas = open_source(path, kind="pandas").head(10).native
    pd.testing.assert_frame_equal(in_pandas, pd.read_csv(path))
    assert open_source(path, kind="polars").head(10).native.equals(pl.read_csv(path))


CELLS = ["", "1", "-7", "+1", " 1", "1_0", "2.5", "1.", ".5", "-.5", "+2.5", "1e5", "1.5E-3"]
CELLS += [
    "inf",
    "-inf",
    "NaN",
    "nan",
    "Infinity",
    "true",
    "False",
    "TRUE",
    "t",
    "-",
    "1-2",
    "x",
]
CELLS += ["9223372036854775808", "-9223372036854775809", "2024-05-01", "1e400", "1.5.2", "0x1"]


LONG = {"9223372036854775808", "-9223372036854775809"}


@settings(max_examples=100, deadline=None)
@given(cells=st.lists(st.sampled_from(CELLS), min_size=1, max_size=3))
@example(cells=["9223372036854775807", "-1"])
@example(cells=["true", "1"])
def test_csv_in_polars_has_the_dtypes_of_polars_own_reader(cells: list[str]) -> None:
    assume(
        len(set(cells) & LONG) == 0 or all(cell.lstrip("-").isdecimal() for cell in cells if cell)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), "a.csv", "a,b\n" + "".join(f"{cell},z\n" for cell in cells))
        own = pl.read_csv(path, infer_schema_length=None)
        assert open_source(path, kind="polars").head(10).native.equals(own)
        assert open_source(path, kind="polars").empty().native.schema == own.schema


@pytest.mark.parametrize("kind", KINDS)
def test_a_csv_column_with_a_leading_zero_is_text_and_zeros_alone_are_numbers(
    kind: str, tmp_path: Path
) -> None:
    lines = ["a,b,c,d,e", "01234,1,0,-007,0.5", "501,02.50,1,8,0", ",3,10,,-0.5"]
    source = open_source(written(tmp_path, "a.csv", "\n".join(lines) + "\n"), kind=kind)
    assert rows_of(source) == [
        ("01234", "1", 0, "-007", 0.5), ("501", "02.50", 1, "8", 0.0), (None, "3", 10, None, -0.5),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1E5", "7"], None),  # an article, not a hundred thousand
        (["1e5", "1E-3", "2.0E4", "1E+2"], [1e5, 1e-3, 2e4, 1e2]),
        (["9007199254740993", "1.5"], None),  # a float holds its neighbour
        (["9007199254740992", "-9007199254740992", "1.5"], [2.0**53, -(2.0**53), 1.5]),
        (["9007199254740993", "2"], [9007199254740993, 2]),
    ],
    ids=str,
)
def test_what_a_number_would_change_is_text(
    kind: str, cells: list[str], numbers: list[float] | None, tmp_path: Path
) -> None:
    path = written(tmp_path, "a.csv", "x,y\n" + "".join(f"{cell},b\n" for cell in cells))
    got = [row[0] for row in rows_of(open_source(path, kind=kind))]
    assert got == (cells if numbers is None else numbers)
    assert isinstance(got[0], str) == (numbers is None)


@pytest.mark.parametrize("kind", KINDS)
def test_only_an_empty_cell_of_csv_is_missing(kind: str, tmp_path: Path) -> None:
    words = ["NA", "None", "null", "nan", "N/A", "n/a", "NULL", "<NA>", "-nan"]
    path = written(tmp_path, "a.csv", "a,b\n" + "".join(f"{word},1\n" for word in words) + ",2\n")
    assert [row[0] for row in rows_of(open_source(path, kind=kind))] == [*words, None]


TYPED = [
    ("str", ["1", "x", "2.50"], ["1", "x", "2.50"]),
    (str, ["1", "2", ""], ["1", "2", None]),
    ("int", ["1", "007", ""], [1, 7, None]),
    (float, ["1", "2.5", "1e3"], [1.0, 2.5, 1000.0]),
    ("bool", ["true", "false", ""], [True, False, None]),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "cells", "expected"), TYPED, ids=str)
def test_a_column_is_read_as_the_dtype_that_is_given(
    kind: str, dtype: Any, cells: list[str], expected: list[Any], tmp_path: Path
) -> None:
    csv_file = written(tmp_path, "a.csv", "n,x\n" + "".join(f"1,{cell}\n" for cell in cells))
    lines = "".join(json.dumps({"n": 1, "x": cell or None}) + "\n" for cell in cells)
    for path in (csv_file, written(tmp_path, "a.jsonl", lines)):
        source = open_source(path, kind=kind, dtypes={"x": dtype})
        got = [row[1] for row in rows_of(source)]
        assert got == expected
        assert list(map(type, got)) == list(map(type, expected))


@pytest.mark.parametrize("kind", KINDS)
def test_a_date_is_read_as_one_where_that_is_given(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "x,y\n2024-05-01,a\n,b\n")
    [(first, _), (gap, _)] = rows_of(open_source(path, kind=kind, dtypes={"x": "date"}))
    assert (first.isoformat()[:10], gap) == ("2024-05-01", None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "content", "dtypes", "message"),
    [
        ("a.csv", "x\n1\nb\n", {"x": "int"}, "1 of 2 cells of column 'x' are no int"),
        ("a.jsonl", '{"x": 1}\n{"x": "b"}\n', {"x": "int"}, "line 2 has 'b' for 'x', which is no"),
        ("a.csv", "zip\n1\n", {"zpi": "str"}, "dtypes names 'zpi', .* did you mean 'zip'"),
        ("a.csv", "x\n1\n", {"x": "Int64"}, "dtypes says 'Int64' for column 'x': give one of str"),
    ],
)
def test_dtypes_that_dont_fit_are_refused_when_a_file_is_opened(
    kind: str, name: str, content: str, dtypes: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises((ConfigurationError, ColumnError), match=message):
        open_source(written(tmp_path, name, content), kind=kind, dtypes=dtypes)


def test_what_has_types_of_its_own_takes_no_dtypes(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [1]})
    frame.write_parquet(tmp_path / "a.parquet")
    for data in (frame, [{"x": 1}], tmp_path / "a.parquet", tmp_path):
        with pytest.raises(ConfigurationError, match="of its own"):
            open_source(data, dtypes={"x": "str"})


def test_fractions_beside_integers_past_64_bits_are_text_in_polars(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "a\n2.5\n9223372036854775808\n")
    assert rows_of(open_source(path, kind="polars")) == [("2.5",), ("9223372036854775808",)]


@pytest.mark.parametrize("cell", ["٣", "٣.٥", "9" * 40])
def test_numbers_that_polars_own_reader_fails_at_are_text(cell: str, tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", f"a\n{cell}\n")
    with pytest.raises(pl.exceptions.ComputeError):
        pl.read_csv(path, infer_schema_length=None)
    assert rows_of(open_source(path, kind="polars")) == [(cell,)]


def test_the_index_of_a_file_read_into_pandas_goes_on_through_the_chunks(tmp_path: Path) -> None:
    for what in ("csv", "parquet", "jsonl"):
        source = opened(f"pandas {what}", N, tmp_path)
        index = [label for frame in source.frames(1_000) for label in frame.native.index]
        assert index == list(range(N))


def test_parquet_gaps_and_categories_that_come_late_are_known_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parts = [
        pl.DataFrame({"n": [2**53 + 1, 2], "b": [True, False], "c": ["x", "y"], "m": [1, 2]}),
        pl.DataFrame({"n": [3, None], "b": [None, True], "c": ["z", "x"], "m": [3, 4]}),
    ]
    whole = pl.concat(parts).with_columns(pl.col("c").cast(pl.Categorical))
    whole.write_parquet(path, row_group_size=2)
    frames = [frame.native for frame in open_source(path, kind="pandas").frames(2)]
    for frame in frames:
        assert [str(dtype) for dtype in frame.dtypes] == ["Int64", "boolean", "category", "int64"]
    assert frames[0]["c"].dtype == frames[1]["c"].dtype
    assert pd.concat(frames)["c"].tolist() == ["x", "y", "z", "x"]
    assert frames[0]["n"][0] == 2**53 + 1
    assert pq.ParquetFile(path).num_row_groups == 2


def test_integers_with_gaps_stay_exact_in_pandas(tmp_path: Path) -> None:
    lines = [f"{2**53 + 1},true", *[","] * 6_000]
    path = written(tmp_path, "a.csv", "n,b\n" + "\n".join(lines) + "\n")
    rows = rows_of(open_source(path, kind="pandas"))
    assert rows == [(2**53 + 1, True), *[(None, None)] * 6_000]
    assert type(rows[0][0]) is int


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_lack_a_key_have_it_missing(kind: str, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"a": 1}, {"b": "x", "a": None}, {"c": [1, 2], "a": 3}]
    lines = "".join(json.dumps(row) + "\n\n" for row in rows)
    path = written(tmp_path, "a.jsonl", lines)
    for data in (rows, iter(rows), path):
        source = open_source(data, kind=kind)
        expected = [(1, None, None), (None, "x", None), (3, None, [1, 2])]
        assert rows_of(source, 2) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_values_of_rows_come_through(kind: str) -> None:
    moment = datetime(2024, 5, 1, 12, 30)
    row = {
        "whole": 2**60,
        "part": 0.1,
        "yes": True,
        "day": date(2024, 5, 1),
        "naive": moment,
        "aware": moment.replace(tzinfo=UTC),
        "list": ["a", None],
        "dict": {"x": 1, "y": {"z": None}},
        "gap": float("nan"),
    }
    [(*values, gap)] = rows_of(open_source([row], kind=kind))
    assert values == list(row.values())[:-1]
    assert gap is None


@pytest.mark.parametrize("kind", KINDS)
def test_integers_and_fractions_together_are_floats_and_other_mixtures_stay(kind: str) -> None:
    rows = [{"n": 1, "m": 1, "big": 2**70}, {"n": 2.5, "m": "x", "big": 1}]
    got = rows_of(open_source(rows, kind=kind))
    assert [row[0] for row in got] == [1.0, 2.5]
    assert [str(row[1]) for row in got] == ["1", "x"]
    assert [int(row[2]) for row in got] == [2**70, 1]


# --- iterators


@pytest.mark.parametrize("kind", KINDS)
def test_an_iterator_is_read_only_as_far_as_it_is_needed(kind: str) -> None:
    given: list[int] = []

    def rows() -> Iterator[dict[str, int]]:
        for at in range(1_000_000):
            given.append(at)
            yield {"x": at}

    source = open_source(rows(), kind=kind)
    assert len(given) == 1_000
    frames = source.frames(1_500)
    next(frames)
    assert len(given) <= 1_600


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"x": 1, "z": 2}, "row 1500 of data has the new key 'z'"),
        ({"x": "one"}, "row 1500 of data has 'one' for 'x', which was int in the first 1000"),
        ({"x": 2.5}, "row 1500 of data has 2.5 for 'x', which was int"),
        ((1, "a"), "row 1500 of data is of type tuple, not a dict: give dicts"),
        ({"\ud83d": "x"}, r"row 1500 of data has the key '\\ud83d'"),
    ],
)
def test_a_later_row_that_doesnt_fit_is_named(row: Any, message: str) -> None:
    rows = ({"x": at, "text": None} if at != 1_500 else row for at in range(3_000))
    frames = open_source(rows).frames(500)
    assert [len(next(frames)) for _ in range(3)] == [500] * 3
    with pytest.raises(RunError, match=message):
        next(frames)


def test_a_key_missing_in_all_first_rows_may_be_text_later() -> None:
    rows = ({"x": None if at < 2_000 else "late"} for at in range(2_001))
    assert rows_of(open_source(rows, kind="polars"))[-1] == ("late",)


def test_an_error_of_the_iterator_itself_comes_through() -> None:
    def rows() -> Iterator[dict[str, int]]:
        for at in range(2_000):
            yield {"x": 1 // (1_999 - at)}

    with pytest.raises(ZeroDivisionError):
        list(open_source(rows()).frames(10))


@pytest.mark.parametrize(
    ("later", "message"),
    [
        (pd.DataFrame({"b": [1]}), r"frame 1 of data has the columns 'b', and the first had 'a'"),
        (pd.DataFrame({"a": ["x"]}), "frame 1 of data: column 'a' is str, and doesn't fit"),
        (pd.DataFrame({"a": [1.5]}), "frame 1 of data: column 'a' is float64, and doesn't fit"),
        (pl.DataFrame({"a": [1]}), "frame 1 of data is of type DataFrame: give pandas frames"),
        ({"a": 1}, "frame 1 of data is of type dict"),
    ],
)
def test_a_later_frame_that_doesnt_fit_is_named(later: Any, message: str) -> None:
    source = open_source(iter([pd.DataFrame({"a": [1]}), later]))
    with pytest.raises(RunError, match=message):
        list(source.frames(10))


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_later_frames_take_the_dtypes_of_the_first(make: Callable[[Any], Any]) -> None:
    source = open_source(iter([make({"a": [1.5]}), make({"a": [2]})]))
    assert rows_of(source, 1) == [(1.5,), (2.0,)]
    assert len({str(frame.native["a"].dtype) for frame in source_of(make).frames(1)}) == 1


def source_of(make: Callable[[Any], Any]) -> Source:
    return open_source([make({"a": [1.5]}), make({"a": [2]})])


# --- what can't be read


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("reviews", "data is 'reviews', which isn't the path of a known kind of file"),
        ("a.xlsx", "give one that ends in .csv, .tsv, .parquet, .jsonl, .ndjson"),
        ("https://example.org/a.csv", "data is the address https://example.org/a.csv: download"),
        ([(1, "a")], r"row 0 of data is of type tuple, not a dict: give dicts, as in \(dict\(zip"),
        ([{"a": 1}, 5], "row 1 of data is of type int, not a dict"),
        (iter(["a"]), "row 0 of data is of type str, not a dict: give dicts, as in"),
        ([{1: "a"}], "row 0 of data has the key 1: give keys that are text"),
        ([], "data has no rows with keys"),
        (iter([]), "data has no rows with keys"),
        (5, "data is an int: give a pandas or polars DataFrame"),
        ({"a": [1]}, "data is a dict: make a frame of it"),
    ],
)
def test_other_data_are_refused_with_the_remedy(data: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        open_source(data)
    assert "\n" not in str(caught.value)


def test_a_file_that_isnt_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    written(tmp_path, "reviews.csv", "a\n1\n")
    with pytest.raises(ConfigurationError, match=r"did you mean .*reviews\.csv\?"):
        open_source(tmp_path / "review.csv")
    with pytest.raises(ConfigurationError, match=r"the folder .*nowhere isn't there either"):
        open_source(str(tmp_path / "nowhere" / "a.csv"))
    with pytest.raises(ConfigurationError, match="is a folder without Parquet files"):
        open_source(tmp_path)


def test_a_path_may_be_relative_or_begin_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "a[1].csv", "x\n1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("a[1].csv", "~/a[1].csv", Path("a[1].csv")):
        for kind in KINDS:
            assert open_source(path, kind=kind).rows == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "has no columns"),
        ("a.csv", b"a,b,a\n1,2,3\n", "more than one column named 'a'"),
        ("a.csv", b"a,b\n1,2\n1,2,3\n", "line 3 has 3 cells, the header has 2"),
        ("a.csv", b"a,b\n1,2,3\n", "line 2 has 3 cells, the header has 2"),
        ("a.csv", b"a,b\n1,2\n\xf6,3\n", "line 3 isn't UTF-8"),
        ("a.csv", b'a,b\n1,"2\n3,4\n', "line 3: unexpected end of data"),
        ("a.csv.gz", b"a,b\n1,2\n", r"a\.csv\.gz can't be read: Not a gzipped file"),
        ("a.parquet", b"a,b\n1,2\n", "can't be read as PARQUET"),
        ("a.jsonl", b"", "has no columns"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', r"line 2 isn't JSON"),
        ("a.jsonl", b'{"a": 1}\n\n[1]\n', r"line 3 is '\[1\]', not an object"),
        ("a.jsonl", b'{"a": "\xf6"}\n', "line 1 isn't UTF-8"),
        ("a.ndjson", b'{"\\ud83d": 1}\n', r"line 1: the key '\\ud83d' has half a character"),
    ],
)
def test_a_garbled_file_is_found_when_it_is_opened(
    kind: str, name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    path = written(tmp_path, name, content)
    with pytest.raises(ConfigurationError, match=message) as caught:
        open_source(path, kind=kind)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_columns_and_doubled_ones_are_column_errors(tmp_path: Path) -> None:
    for text in ("", "a,a\n1,2\n"):
        with pytest.raises(ColumnError):
            open_source(written(tmp_path, "a.csv", text))


# --- the library that files are read into


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("import pandas", "pandas"),
        ("import polars", "polars"),
        ("import pandas, polars", "polars"),
        ("", "polars"),
        ("import sys; sys.modules['polars'] = None", "pandas"),
    ],
)
def test_files_are_read_into_the_library_that_fits_the_process(
    before: str, expected: str, tmp_path: Path
) -> None:
    path = written(tmp_path, "a.csv", "x\n1\n")
    code = "import sys; from ondine_nb.data import open_source as o; print(o(sys.argv[1]).kind)"
    command = [sys.executable, "-c", f"{before}\n{code}", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.strip() == expected, done.stderr


@pytest.mark.parametrize(
    ("missing", "kind", "message"),
    [
        ("pandas", "pandas", 'needs pandas: pip install "ondine-nb[pandas]"'),
        ("polars", "polars", 'needs polars: pip install "ondine-nb[polars]"'),
        ("pyarrow", "pandas", "Parquet for pandas needs pyarrow: pip install pyarrow"),
    ],
)
def test_a_library_that_isnt_installed_is_named_with_the_command(
    missing: str, kind: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"a": [1]}).write_parquet(path)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigurationError) as caught:
        open_source(path, kind=kind)
    assert message in str(caught.value)


def test_another_kind_than_that_of_the_frame_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match="data is of polars: kind='pandas' goes with files"
    ):
        open_source(pl.DataFrame({"a": [1]}), kind="pandas")
    with pytest.raises(ConfigurationError, match="kind is 'arrow': give 'pandas' or 'polars'"):
        open_source([{"a": 1}], kind="arrow")
