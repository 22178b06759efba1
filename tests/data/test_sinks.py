"""Sinks: a file is in place when it is whole, and a source reads what was written."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ondine_nb.data.columns import Column
from ondine_nb.data.frames import records_frame
from ondine_nb.data.open import open_source
from ondine_nb.data.sinks import open_sink, open_target
from ondine_nb.errors import ConfigurationError, RunError
from tests import forks
from tests.patience import PATIENCE

KINDS = ["pandas", "polars"]
ENDINGS = ["csv", "tsv", "jsonl", "ndjson", "parquet"]
slow = [HealthCheck.too_slow]


def frame_of(kind: str, data: dict[str, Any]) -> Any:
    return pd.DataFrame(data) if kind == "pandas" else pl.DataFrame(data, strict=False)


def write_all(path: Path, frames: Sequence[Any]) -> None:
    with open_sink(path) as sink:
        for frame in frames:
            sink.write(frame)
    assert sink.rows == sum(map(len, frames))


def read_all(path: Path, kind: str) -> list[tuple[Any, ...]]:
    source = open_source(path, kind=kind)
    return [
        row
        for frame in source.frames(1_000)
        for rows in frame.iter_rows(source.columns)
        for row in rows
    ]


# --- round trips

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["", "a\nb", "\r", "\r\n", '"', ",", "\t", "😀", "\0", "a\0b", " x ", "\u2028", "\\", "'", "#"]
)
values = {
    "str": texts,
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "bool": st.booleans(),
}


@st.composite
def columns(draw: st.DrawFn) -> list[list[Column]]:
    """Up to three chunks of the same columns, one of each kind."""
    lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    return [
        [
            Column(
                f"{kind} {n}", kind, draw(st.lists(st.none() | cell, min_size=size, max_size=size))
            )
            for n, (kind, cell) in enumerate(values.items())
        ]
        for size in lengths
    ]


def rows_in(chunks: list[list[Column]]) -> list[tuple[Any, ...]]:
    return [row for chunk in chunks for row in zip(*(one.values for one in chunk), strict=True)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@settings(max_examples=25, deadline=None, suppress_health_check=slow)
@given(chunks=columns())
def test_jsonl_and_parquet_give_back_the_same_values(
    kind: str, ending: str, chunks: list[list[Column]]
) -> None:
    expected = rows_in(chunks)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{ending}"
        write_all(path, [records_frame(kind, chunk) for chunk in chunks])
        if expected or ending == "parquet":  # no line of JSONL, no columns
            assert read_all(path, kind) == expected
        assert os.listdir(folder) == [path.name]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["csv", "tsv"])
@settings(max_examples=25, deadline=None, suppress_health_check=slow)
@given(chunks=columns())
@example([[Column("a", "str", ["", None, "x", None])]])
def test_csv_gives_back_the_same_texts(kind: str, ending: str, chunks: list[list[Column]]) -> None:
    """CSV holds no dtypes: what is compared is the text of a cell, and whether it is missing."""
    written = [[replaced(column, kind) for column in chunk] for chunk in chunks]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{ending}"
        write_all(path, [records_frame(kind, chunk) for chunk in written])
        with path.open(newline="", encoding="utf-8") as file:
            raw = list(csv.reader(file, delimiter="," if ending == "csv" else "\t"))
        assert raw[0] == [column.name for column in written[0]]
        assert read_all(path, kind) == rows_in(written)


def replaced(column: Column, kind: str) -> Column:
    """Text that no reader takes for a number, nor pandas for missing."""
    if column.kind != "str":
        return column
    named = [None if value is None else f"t{value}" for value in column.values]
    if kind == "polars":
        named = ["" if value == "t" else value for value in named]
    return Column(column.name, "str", [*named])


# --- what a file looks like


MOMENT = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)
ROW = {
    "text": ['ä "x",\n'],
    "gap": [None],
    "whole": [5],
    "part": [0.1],
    "yes": [True],
    "day": [date(2024, 5, 1)],
    "when": [MOMENT],
    "list": [["ü", "b"]],
}


@pytest.mark.parametrize("kind", KINDS)
def test_jsonl_has_one_object_a_line_in_utf_8(kind: str, tmp_path: Path) -> None:
    write_all(tmp_path / "a.jsonl", [frame_of(kind, ROW)])
    assert (tmp_path / "a.jsonl").read_bytes().decode() == (
        r'{"text": "ä \"x\",\n", "gap": null, "whole": 5, "part": 0.1, "yes": true, '
        r'"day": "2024-05-01", "when": "2024-05-01T12:30:00+00:00", "list": ["ü", "b"]}' + "\n"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_csv_has_a_header_iso_dates_and_lists_as_json(kind: str, tmp_path: Path) -> None:
    write_all(tmp_path / "a.csv", [frame_of(kind, ROW)])
    assert (tmp_path / "a.csv").read_bytes().decode() == (
        "text,gap,whole,part,yes,day,when,list\n"
        '"ä ""x"",\n",,5,0.1,true,2024-05-01,2024-05-01T12:30:00+00:00,"[""ü"", ""b""]"\n'
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_an_empty_frame_alone_makes_a_file_of_columns_only(
    kind: str, ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{ending}"
    write_all(path, [records_frame(kind, [Column("a", "str", []), Column("b", "int", [])])])
    if ending in ("jsonl", "ndjson"):
        assert path.read_bytes() == b""
    else:
        source = open_source(path, kind=kind)
        assert (source.columns, source.rows) == (("a", "b"), 0)


@pytest.mark.parametrize("kind", KINDS)
def test_lists_and_dicts_of_jsonl_come_back(kind: str, tmp_path: Path) -> None:
    rows = [{"l": [1, 2], "d": {"a": "x", "b": None}}, {"l": [], "d": None}]
    source = open_source(rows, kind=kind)
    write_all(tmp_path / "a.jsonl", [frame.native for frame in source.frames(1)])
    assert read_all(tmp_path / "a.jsonl", kind) == [tuple(row.values()) for row in rows]


def test_nan_inside_a_list_is_null_in_jsonl(tmp_path: Path) -> None:
    write_all(tmp_path / "a.jsonl", [pd.DataFrame({"a": [[1.5, float("nan")]]})])
    assert json.loads((tmp_path / "a.jsonl").read_text()) == {"a": [1.5, None]}


def test_named_levels_of_an_index_are_columns_and_unnamed_ones_are_left_out(
    tmp_path: Path,
) -> None:
    data = pd.DataFrame({"a": [1, 2]})
    for index, expected in (
        (pd.Index(["x", "y"], name="key"), "key,a\nx,1\ny,2\n"),
        (pd.Index(["x", "y"]), "a\n1\n2\n"),
        (pd.RangeIndex(2), "a\n1\n2\n"),
    ):
        write_all(tmp_path / "a.csv", [data.set_axis(index)])
        assert (tmp_path / "a.csv").read_text() == expected


def test_parquet_keeps_an_index_of_pandas_but_a_plain_one(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    data = pd.DataFrame({"a": [1, 2]})
    for index in (pd.Index(["x", "y"], name="key"), pd.Index([7, 7]), pd.RangeIndex(2)):
        write_all(path, [data.set_axis(index)[:1], data.set_axis(index)[1:]])
        pd.testing.assert_frame_equal(pd.read_parquet(path), data.set_axis(index))
    assert pq.read_schema(path).names == ["a"]


# --- Parquet's dtypes


@pytest.mark.parametrize("kind", KINDS)
def test_choices_survive_in_parquet_with_their_categories(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    choices = ("z", "a", "b")
    chunks = [[Column("c", "choice", cells, choices)] for cells in (["a", None], ["b", "a"])]
    write_all(path, [records_frame(kind, chunk) for chunk in chunks])
    if kind == "pandas":
        assert list(pd.read_parquet(path)["c"].cat.categories) == list(choices)
    else:
        assert pl.read_parquet(path).schema["c"] == pl.Enum(choices)
    assert read_all(path, kind) == [("a",), (None,), ("b",), ("a",)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "later", [["x", "y"], [1, 2], [1.5, None], [True, False], [["a"], []], [MOMENT, None]]
)
def test_a_column_missing_in_the_first_chunks_takes_its_dtype_later(
    kind: str, later: list[Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    cells = [[None, None], [None, None], later, [None, None], later]
    frames = [frame_of(kind, {"n": [at, at], "x": part}) for at, part in enumerate(cells)]
    if kind == "pandas":
        frames[0] = frames[0].astype({"x": object})
    write_all(path, frames)
    assert [row[1] for row in read_all(path, kind)] == [cell for part in cells for cell in part]
    assert [row[0] for row in read_all(path, kind)] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert os.listdir(tmp_path) == ["a.parquet"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_that_is_empty_at_first_takes_its_dtype_later(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_all(path, [frame_of(kind, {"x": [cell]}) for cell in ([], ["a"], [])])
    assert read_all(path, kind) == [([],), (["a"],), ([],)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("first", "later"), [([1], ["x"]), ([1], [2.5]), ([True], ["no"])])
def test_a_later_chunk_that_doesnt_fit_is_an_error_that_names_the_column(
    kind: str, first: list[Any], later: list[Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    sink = open_sink(path)
    sink.write(frame_of(kind, {"n": [1], "x": first}))
    with pytest.raises(RunError, match=r"column 'x' .* doesn't fit into"):
        sink.write(frame_of(kind, {"n": [2], "x": later}))
    sink.write(frame_of(kind, {"n": [3], "x": first}))  # what came before and after is good
    sink.close()
    assert [row[0] for row in read_all(path, kind)] == [1, 3]


@pytest.mark.parametrize("kind", KINDS)
def test_dtypes_that_hold_the_same_values_are_cast(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_all(path, [frame_of(kind, {"x": cells}) for cells in ([1, 2], [3.0, None])])
    assert read_all(path, kind) == [(1,), (2,), (3,), (None,)]


def test_dicts_and_mixed_values_of_pandas_are_json_text_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    data = {"d": [{"a": 1}, None], "m": [1, "x"]}
    write_all(path, [pd.DataFrame(data), pd.DataFrame({"d": [{"b": []}], "m": [[2]]})])
    assert read_all(path, "polars") == [('{"a": 1}', "1"), (None, "x"), ('{"b": []}', "[2]")]


def test_decimals_and_many_small_polars_chunks_are_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    frames = [
        pl.DataFrame({"n": range(at, at + 700), "d": [Decimal("1.50")] * 700})
        for at in range(0, 140_000, 700)
    ]
    write_all(path, frames)
    whole = pl.read_parquet(path)
    assert whole["n"].to_list() == list(range(140_000))
    assert set(whole["d"].to_list()) == {Decimal("1.50")}


# --- what a format can't hold


@pytest.mark.parametrize(
    ("ending", "cell", "message"),
    [
        ("csv", b"raw", "column 'x' has in row 3 b'raw', which this format lacks"),
        ("jsonl", b"raw", "column 'x' has in row 3 b'raw', which this format lacks"),
    ],
)
def test_a_value_that_the_format_lacks_is_named_and_the_rest_stays_good(
    ending: str, cell: Any, message: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{ending}"
    sink = open_sink(path)
    sink.write(pd.DataFrame({"n": [1, 2], "x": pd.Series(["a", "b"], dtype=object)}))
    with pytest.raises(RunError, match=message) as caught:
        sink.write(pd.DataFrame({"n": [3, 4], "x": pd.Series(["c", cell], dtype=object)}))
    assert str(path) in str(caught.value)
    assert sink.rows == 2
    sink.close()
    assert read_all(path, "pandas") == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("ending", ENDINGS)
def test_half_a_character_is_written_as_prompts_have_it(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    cells = ["a\ud83db", "7", None, "\ud83d\ude00"]
    write_all(path, [pd.DataFrame({"x": pd.Series(cells, dtype=object), "n": 1})])
    expected = ["a\ufffdb", "7", None, "😀"]
    assert [row[0] for row in read_all(path, "polars")] == expected


@pytest.mark.parametrize("kind", KINDS)
def test_an_infinity_is_text_in_jsonl_which_has_no_number_for_it(kind: str, tmp_path: Path) -> None:
    write_all(tmp_path / "a.jsonl", [frame_of(kind, {"x": [1.5, float("-inf")]})])
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["x"] for line in lines] == [1.5, "-inf"]


BYTES = [
    pd.DataFrame({"x": pd.Series([None, b"raw"], dtype=object)}),
    pd.DataFrame({"x": pd.Series([None, {"a": [b"raw"]}], dtype=object)}),
    pd.DataFrame({"x": pd.array([b"raw"], dtype=pd.ArrowDtype(pa.binary()))}),
    pl.DataFrame({"x": [b"raw"]}),
    pl.DataFrame({"x": [[b"raw"]]}),
    pl.DataFrame({"x": [{"a": b"raw"}]}),
]


@pytest.mark.parametrize("frame", BYTES, ids=lambda frame: type(frame).__module__)
@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_bytes_are_refused_before_a_run_where_the_format_is_text(
    ending: str, frame: Any, tmp_path: Path
) -> None:
    sink = open_sink(tmp_path / f"a.{ending}")
    with pytest.raises(ConfigurationError, match=r"column 'x' holds bytes, .* write to .parquet"):
        sink.accepts(frame)
    open_sink(tmp_path / f"a.{ending}", new=[Column("x", "str", [])]).accepts(frame)  # replaced
    open_sink(tmp_path / "a.parquet").accepts(frame)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
@pytest.mark.parametrize("arrow", [pa.binary(), pa.large_binary(), pa.binary(3)], ids=str)
def test_bytes_of_a_parquet_file_are_refused_by_their_type_whatever_its_first_rows_hold(
    kind: str, arrow: Any, tmp_path: Path
) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"x": pa.array([None, None, b"raw"], arrow)}), path)
    source = open_source(path, kind=kind)
    for look in (source.look(), source.head(2)):
        with pytest.raises(ConfigurationError, match="column 'x' holds bytes"):
            open_sink(tmp_path / "out.jsonl").accepts(look.native)


def test_an_index_named_as_a_column_is_refused_before_a_run(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1]}, index=pd.Index([1], name="x"))
    with pytest.raises(ConfigurationError, match="'x' as column and as index"):
        open_sink(tmp_path / "a.csv").accepts(frame)


def test_python_objects_of_polars_are_refused_before_a_run_by_parquet(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": pl.Series([object()], dtype=pl.Object)})
    with pytest.raises(ConfigurationError, match="'x' holds Python objects"):
        open_sink(tmp_path / "a.parquet").accepts(frame)


NEW = [
    ("list[int]", [[], [1], None], pa.list_(pa.int64())),
    ("list[date]", [None, [], [date(2024, 1, 2)]], pa.list_(pa.date32())),
    ("json", [[], {"a": 1}, "x"], pa.string()),
    ("datetime", [None, None, MOMENT], pa.timestamp("us", "UTC")),
    ("int", [None, 1, None], pa.int64()),
]


@pytest.mark.parametrize(("kind", "cells", "arrow"), NEW, ids=lambda v: str(v)[:12])
def test_a_new_column_has_the_type_of_its_kind_whatever_its_first_chunk_holds(
    kind: str, cells: list[Any], arrow: Any, tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    with open_sink(path, new=[Column("x", kind, [])]) as sink:
        for cell in cells:
            sink.write(records_frame("pandas", [Column("x", kind, [cell])]))
    found = pq.read_schema(path).field("x").type
    assert found == arrow or (found == pa.large_string() and arrow == pa.string())
    assert pq.ParquetFile(path).metadata.num_rows == len(cells)


@pytest.mark.parametrize(
    ("first", "later", "expected"),
    [
        (Decimal("1.50"), Decimal("12345.678"), [Decimal("1.500"), Decimal("12345.678")]),
        (1, "a", ["1", "a"]),
        ([1], {"a": 2}, ["[1]", '{"a": 2}']),
        ([], [{"a": 2}], ["[]", '[{"a": 2}]']),
        (date(2024, 1, 2), 5, ['"2024-01-02"', "5"]),
    ],
    ids=str,
)
def test_a_column_of_objects_never_ends_a_run(
    first: Any, later: Any, expected: list[Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    cells = [first, later, None, first]
    write_all(path, [pd.DataFrame({"x": pd.Series([cell], dtype=object)}) for cell in cells])
    assert pq.read_table(path)["x"].to_pylist() == [*expected, None, expected[0]]
    assert os.listdir(tmp_path) == ["a.parquet"]


@pytest.mark.parametrize("kind", KINDS)
def test_json_columns_are_real_json_in_jsonl(kind: str, tmp_path: Path) -> None:
    cells = [[{"a": "é"}], {"b": None}, "7", "x", None, 1.5]
    new = [Column("x", "json", [])]
    with open_sink(tmp_path / "a.jsonl", new=new) as sink:
        sink.write(records_frame(kind, [Column("x", "json", cells)]))
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["x"] for line in lines] == cells


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_new_column_of_dates_has_days_in_text_from_both_libraries(
    kind: str, ending: str, tmp_path: Path
) -> None:
    new = [Column("x", "date", [])]
    with open_sink(tmp_path / f"a.{ending}", new=new) as sink:
        sink.write(records_frame(kind, [Column("x", "date", [None])]))  # a dtype, whatever it holds
        sink.write(records_frame(kind, [Column("x", "date", [date(2024, 1, 2)])]))
    lines = (tmp_path / f"a.{ending}").read_text().splitlines()
    assert lines[-1] == ("2024-01-02" if ending == "csv" else '{"x": "2024-01-02"}')


# --- what is left of processes that died

HELD = """
import sys
from ondine_nb.data import open_target
sink = open_target(sys.argv[1])
sink.write(__import__("polars").DataFrame({"a": [1]}))
print("open", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("target", ["out.csv", "out.parquet", "out/"])
def test_what_a_dead_process_left_goes_and_what_a_living_one_writes_stays(
    target: str, tmp_path: Path
) -> None:
    path = f"{tmp_path}/{target}"
    command = [sys.executable, "-c", HELD, path]
    held = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)
    ]
    for process in held:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
    held[0].kill()
    held[0].wait()
    before = {each.name for each in tmp_path.iterdir()}
    open_target(path).discard()
    left = {each.name for each in tmp_path.iterdir()}
    assert left
    assert left < before
    assert len({name.split(".part")[0] for name in left}) == 1
    held[1].kill()
    held[1].wait()
    with open_target(path) as sink:
        sink.write(pl.DataFrame({"a": [1]}))
    assert os.listdir(tmp_path) == [target.strip("/")]
    for process in held:
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()


def test_other_files_of_such_names_are_left_alone(tmp_path: Path) -> None:
    names = [
        ".out.csv.part",
        ".out.csv.x.part",
        ".other.csv.0123abcd.part",
        "out.csv.0123abcd.part",
    ]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".out.csv.0123abcd.part").touch()  # of an earlier version
    open_sink(tmp_path / "out.csv").discard()
    assert sorted(os.listdir(tmp_path)) == sorted(names)


def test_other_columns_or_another_kind_than_the_first_are_refused(tmp_path: Path) -> None:
    with open_sink(tmp_path / "a.csv") as sink:
        sink.write(pl.DataFrame({"a": [1]}))
        with pytest.raises(RunError, match="has the columns 'b', and the first had 'a'"):
            sink.write(pl.DataFrame({"b": [1]}))
        with pytest.raises(RunError, match="is of pandas, and the first was of polars"):
            sink.write(pd.DataFrame({"a": [1]}))


# --- in place, or not at all


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_an_older_file_stays_until_the_new_one_is_closed(
    kind: str, ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{ending}"
    path.write_text("old")
    path.chmod(0o640)
    sink = open_sink(path)
    sink.write(frame_of(kind, {"a": [1]}))
    assert path.read_text() == "old"
    sink.close()
    sink.close()
    sink.discard()
    assert read_all(path, kind) == [(1,)]
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == [path.name]
    with pytest.raises(RunError, match="is closed, so it takes no more rows"):
        sink.write(frame_of(kind, {"a": [1]}))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_discarded_leaves_no_trace(kind: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a[1].{ending}"
    path.write_text("old")
    sink = open_sink(path)

    def failing() -> None:
        with sink:
            sink.write(frame_of(kind, {"a": [1]}))
            sink.write(frame_of(kind, {"a": [1 // 0]}))

    with pytest.raises(ZeroDivisionError):
        failing()
    sink.discard()
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_text() == "old"


def test_a_sink_without_a_chunk_cant_be_finished(tmp_path: Path) -> None:
    sink = open_sink(tmp_path / "a.csv")
    with pytest.raises(RunError, match="can't be finished: no chunk was written"):
        sink.close()
    sink.discard()
    assert os.listdir(tmp_path) == []


def test_the_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "real" / "a.csv")
    write_all(tmp_path / "link.csv", [pl.DataFrame({"a": [1]})])
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real" / "a.csv").read_text() == "a\n1\n"


def test_a_file_may_be_written_where_it_is_read_from(tmp_path: Path) -> None:
    for kind in KINDS:
        path = tmp_path / "a.csv"
        path.write_text("a\n" + "".join(f"{n}\n" for n in range(20_000)))
        with open_sink(path) as sink:
            for frame in open_source(path, kind=kind).frames(1_000):
                sink.write(frame.native)
        assert read_all(path, kind) == [(n,) for n in range(20_000)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.xlsx", "give a path that ends in .csv, .tsv, .parquet, .jsonl, .ndjson"),
        ("", "it is a folder, so add the name of a file"),
        ("none/a.csv", r"there is no folder .*none, so make it first"),
    ],
)
def test_a_path_that_cant_be_written_is_refused_at_once(
    name: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        open_sink(tmp_path / name)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_or_file_that_is_write_protected_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch(mode=0o400)
    with pytest.raises(ConfigurationError, match="it is write-protected"):
        open_sink(tmp_path / "a.csv")
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigurationError, match="Permission denied, so choose another folder"):
        open_sink(tmp_path / "b.csv")


FULL = """
import resource, sys
from pathlib import Path
from ondine_nb.errors import RunError
from ondine_nb.data.sinks import open_sink, open_target
path, kind = Path(sys.argv[1]), sys.argv[2]
library = __import__(kind)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
sink = open_sink(path)
frame = library.DataFrame({"a": [f"{n} {n * 7919 % 65537}" for n in range(100_000)]})
try:
    for _ in range(10):
        sink.write(frame)
    sink.close()
except RunError as error:
    print(error)
sink.discard()
print(*[found.name for found in path.parent.iterdir()], path.read_text())
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_full_disk_ends_with_the_remedy_and_can_be_discarded(
    kind: str, ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{ending}"
    path.write_text("old")
    done = forks.run(["-c", FULL, path, kind])
    assert done.returncode == 0, done.stderr
    message, left = done.stdout.splitlines()
    assert f"{path} can't be written (" in message
    assert "make room or choose another path" in message
    assert left == f"a.{ending} old"


ALONE = """
import sys
missing, kind, folder = sys.argv[1:]
for name in (missing, "pyarrow"):
    sys.modules[name] = None
from ondine_nb.data.sinks import open_sink, open_target
from ondine_nb.data.open import open_source
for ending in ("csv", "tsv", "jsonl", *(["parquet"] if kind == "polars" else [])):
    source = open_source(({"a": n, "b": None if n % 2 else "x"} for n in range(3_000)))
    assert source.kind == kind
    with open_sink(f"{folder}/a.{ending}") as sink:
        for frame in source.frames(1_000):
            sink.write(frame.native)
    back = [row for frame in open_source(sink.path).frames(700) for rows in
            frame.iter_rows(["a", "b"]) for row in rows]
    assert back == [(n, None if n % 2 else "x") for n in range(3_000)], ending
"""


@pytest.mark.parametrize(("kind", "missing"), [("pandas", "polars"), ("polars", "pandas")])
def test_one_library_alone_is_enough(kind: str, missing: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", ALONE, missing, kind, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_parquet_from_pandas_alone_needs_pyarrow_and_says_so(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    sink = open_sink(tmp_path / "a.parquet")
    if kind == "polars":
        sink.write(pl.DataFrame({"a": [1]}))
    else:
        with pytest.raises(RunError, match="to Parquet needs pyarrow: pip install pyarrow"):
            sink.write(pd.DataFrame({"a": [1]}))
        with pytest.raises(ConfigurationError, match="needs pyarrow: pip install pyarrow"):
            open_sink(tmp_path / "b.parquet", kind)
    sink.discard()
    assert os.listdir(tmp_path) == []


# --- memory


FLAT = """
import resource, sys
from ondine_nb.data.sinks import open_sink, open_target
from ondine_nb.data.open import open_source
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
small, large, kind, to = sys.argv[1:]
def copy(path):
    with open_sink(to) as sink:
        for frame in open_source(path, kind=kind).frames(500):
            sink.write(frame.native)
    return sink.rows
assert copy(small) == 10_000
before = peak()
assert copy(large) == 60_000
print(peak() - before)
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("ending", "to"), [("parquet", "csv"), ("csv", "parquet")])
def test_memory_doesnt_grow_with_the_number_of_rows(
    kind: str, ending: str, to: str, tmp_path: Path
) -> None:
    paths = []
    for n in (10_000, 60_000):  # the larger one holds about 150 MB of text
        numbers = pl.DataFrame({"id": range(n)})
        frame = numbers.with_columns(text=pl.format("{} " + "long text " * 250, "id"))
        paths.append(tmp_path / f"{n}.{ending}")
        if ending == "csv":
            frame.write_csv(paths[-1])
        else:
            frame.write_parquet(paths[-1], row_group_size=5_000)
    command = [sys.executable, "-c", FLAT, *map(str, paths), kind, str(tmp_path / f"out.{to}")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100  # MB
