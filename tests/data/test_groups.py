"""Groups of rows: each row in one, in the frame's order, by columns of any kind."""

from __future__ import annotations

from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.data import Column, Groups, wrap
from ondine_nb.errors import ColumnError

CELLS = st.lists(
    st.tuples(st.one_of(st.none(), st.integers(0, 3)), st.sampled_from(["a", "b", None])),
    max_size=40,
)


def frames(rows: list[tuple[Any, Any]]) -> list[Any]:
    n, t = [row[0] for row in rows], [row[1] for row in rows]
    plain = pl.DataFrame({"n": n, "t": t}, schema={"n": pl.Int64, "t": pl.String})
    return [plain, plain.to_pandas().astype({"n": "Int64"})]


@given(CELLS)
def test_rows_of_equal_cells_are_together_and_every_row_is_in_one_group(
    rows: list[tuple[Any, Any]],
) -> None:
    for frame in frames(rows):
        groups = Groups.of(wrap(frame), ["n", "t"])
        assert sorted(at for members in groups.members for at in members) == list(range(len(rows)))
        keys = [{rows[at] for at in members} for members in groups.members]
        assert [len(key) for key in keys] == [1] * len(groups)
        assert [key for (key,) in keys] == list(dict.fromkeys(rows))
        assert all(members == sorted(members) for members in groups.members)
        heads = [cells for chunk in groups.heads.iter_rows(["n", "t"]) for cells in chunk]
        assert heads == list(dict.fromkeys(rows))


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_heads_keep_kind_and_dtypes_and_are_counted_from_0(kind: str) -> None:
    frame: Any = pd.DataFrame(
        {"day": pd.to_datetime(["2026-01-02", "2026-01-01", "2026-01-02"]), "x": [1, 2, 3]},
        index=[7, 7, 8],
    ).astype({"x": "category"})
    frame = frame if kind == "pandas" else pl.from_pandas(frame)
    heads = Groups.of(wrap(frame), ["day"]).heads.native
    assert type(heads) is type(frame)
    assert list(heads.columns) == ["day"]
    assert heads["day"].dtype == frame["day"].dtype
    assert len(heads) == 2
    if kind == "pandas":
        assert list(heads.index) == [0, 1]


@pytest.mark.parametrize("rows", [0, 3])
def test_without_columns_all_rows_are_one_group_and_no_rows_are_none(rows: int) -> None:
    for frame in (pd.DataFrame({"t": ["x"] * rows}), pl.DataFrame({"t": ["x"] * rows})):
        groups = Groups.of(wrap(frame), [])
        assert groups.members == [list(range(rows))][:rows]
        made = groups.heads.with_columns([Column("r", "str", ["y"] * len(groups))])
        assert type(made) is type(frame)
        assert (list(made.columns), len(made)) == (["r"], len(groups))


def test_cells_that_cannot_be_hashed_are_told_apart_by_what_they_hold() -> None:
    frame = pd.DataFrame({"tags": [["a"], ["b"], ["a"]], "t": list("xyz")})
    assert Groups.of(wrap(frame), ["tags"]).members == [[0, 2], [1]]


def test_a_group_has_a_name_and_an_unknown_or_doubled_column_is_refused() -> None:
    frame = wrap(pd.DataFrame({"brand": ["x"], "year": [2026]}), "reviews")
    assert Groups.of(frame, ["brand", "year"]).name(0) == "brand 'x', year 2026"
    assert Groups.of(frame, []).name(0) == "all rows"
    with pytest.raises(ColumnError, match="reviews has no column 'band': did you mean 'brand'"):
        Groups.of(frame, ["band"])
    with pytest.raises(ColumnError, match="--by names the column 'brand' twice"):
        Groups.of(frame, ["brand", "brand"])
