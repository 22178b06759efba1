"""Files of a run's frame: what is in them, and that they take no other file's place."""

from __future__ import annotations

import csv
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from ondine_nb.notebook.results.export import ExportError, export
from tests.notebook.ended_runs import EVIL

DATA = {"text": ['a,b\n"c"', None, "é 🎉"], "n": [1, 2, 3], "when": [date(2026, 1, 2)] * 3}


def frame(kind: str) -> Any:
    return pd.DataFrame(DATA) if kind == "pandas" else pl.DataFrame(DATA)


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_csv_has_the_cells_of_a_run_that_writes_to_a_file(tmp_path: Path, kind: str) -> None:
    path = export(frame(kind), "labeled", "csv", tmp_path)
    assert path == tmp_path / "labeled.csv"
    assert read(path) == [
        ["text", "n", "when"],
        ['a,b\n"c"', "1", "2026-01-02"],
        ["", "2", "2026-01-02"],
        ["é 🎉", "3", "2026-01-02"],
    ]


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_parquet_comes_back_as_it_was(tmp_path: Path, kind: str) -> None:
    path = export(frame(kind), "labeled", "parquet", tmp_path)
    assert pl.read_parquet(path).to_dict(as_series=False) == DATA


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_no_file_is_replaced(tmp_path: Path, kind: str) -> None:
    (tmp_path / f"labeled.{kind}").write_text("mine")
    paths = [export(frame("pandas"), "labeled", kind, tmp_path).name for _ in range(2)]
    assert paths == [f"labeled-2.{kind}", f"labeled-3.{kind}"]
    assert (tmp_path / f"labeled.{kind}").read_text() == "mine"


def test_a_name_stays_in_its_folder(tmp_path: Path) -> None:
    assert export(frame("pandas"), "../../etc/x y", "csv", tmp_path).parent == tmp_path
    assert export(frame("pandas"), "", "csv", tmp_path).name == "results.csv"


def test_a_pandas_index_that_says_something_comes_first(tmp_path: Path) -> None:
    data = frame("pandas").set_index(pd.Index([10, 10, 30], name="n_"))
    assert read(export(data, "it", "csv", tmp_path))[1][0] == "10"
    data.index.name = "text"
    assert read(export(data, "it", "csv", tmp_path))[0] == ["text_", "text", "n", "when"]


def test_odd_text_and_lists_are_written(tmp_path: Path) -> None:
    data = pd.DataFrame({"it": pd.Series([*EVIL, [1, "é"], {"a": None}], dtype=object)})
    cells = [row[0] for row in read(export(data, "it", "csv", tmp_path))[1:]]
    assert cells[-2:] == ['[1, "é"]', '{"a": null}']
    assert len(cells[3]) == 100_000
    assert cells[5] == "a lone \ufffd surrogate \ufffd"


def test_what_cannot_be_written_says_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ExportError, match="can't write to"):
        export(frame("pandas"), "it", "csv", tmp_path / "no such folder")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow.parquet", None)
        with pytest.raises(ExportError, match="pip install pyarrow"):
            export(frame("pandas"), "it", "parquet", tmp_path)
    mixed = pl.DataFrame({"it": pl.Series([object()], dtype=pl.Object)})
    with pytest.raises(ExportError, match="can't write the parquet file"):
        export(mixed, "it", "parquet", tmp_path)
    assert list(tmp_path.iterdir()) == []
