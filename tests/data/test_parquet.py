"""Folders of Parquet files, read as one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.dataframe as dd
import pandas as pd
import polars as pl
import pytest

from ondine_nb.data.open import open_source
from ondine_nb.errors import ConfigurationError, RunError
from tests.asking import Asker, echoes, texts
from tests.server import MessagesServer

KINDS = ("pandas", "polars")


def read(folder: Path, kind: str) -> Any:
    """All of it, in frames of seven rows."""
    frames = [frame.native for frame in open_source(folder, kind=kind).frames(7)]
    return pd.concat(frames) if kind == "pandas" else pl.concat(frames)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_come_in_the_order_of_their_numbers(tmp_path: Path, kind: str) -> None:
    """Dask writes part.0.parquet … part.11.parquet."""
    dd.from_pandas(texts(120), npartitions=12).to_parquet(tmp_path / "many", write_index=False)
    (tmp_path / "many" / "_metadata.parquet").write_bytes(b"not one of them")
    source = open_source(tmp_path / "many", kind=kind)
    assert source.rows == 120
    assert list(read(tmp_path / "many", kind)["text"]) == list(texts(120)["text"])


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_folders_are_columns(tmp_path: Path, kind: str) -> None:
    for year, place in ((2025, "New York"), (2026, "Rome")):
        folder = tmp_path / f"year={year}" / f"place={place.replace(' ', '%20')}"
        folder.mkdir(parents=True)
        texts(3, start=year).to_parquet(folder / "a.parquet", index=False)
    made = read(tmp_path, kind)
    assert list(made["year"]) == [2025] * 3 + [2026] * 3
    assert list(made["place"]) == ["New York"] * 3 + ["Rome"] * 3
    assert list(made["text"]) == [*texts(3, start=2025)["text"], *texts(3, start=2026)["text"]]


def test_integers_with_gaps_in_one_part_are_integers_in_all(tmp_path: Path) -> None:
    pd.DataFrame({"n": [1, 2]}).to_parquet(tmp_path / "a.parquet", index=False)
    gaps = pd.DataFrame({"n": pd.array([3, None], dtype="Int64")})
    gaps.to_parquet(tmp_path / "b.parquet", index=False)
    made = read(tmp_path, "pandas")
    assert str(made["n"].dtype) == "Int64"
    assert list(made["n"].dropna()) == [1, 2, 3]


@pytest.mark.parametrize("kind", KINDS)
def test_parts_that_dont_go_together_are_named(tmp_path: Path, kind: str) -> None:
    texts(2).to_parquet(tmp_path / "a.parquet", index=False)
    texts(2).rename(columns={"text": "words"}).to_parquet(tmp_path / "b.parquet", index=False)
    with pytest.raises((RunError, ConfigurationError), match=r"b\.parquet|column"):
        read(tmp_path, kind)


def test_folders_of_different_depth_and_without_parts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is a folder without Parquet files"):
        open_source(tmp_path)
    texts(2).to_parquet(tmp_path / "a.parquet", index=False)
    (tmp_path / "year=2026").mkdir()
    texts(2).to_parquet(tmp_path / "year=2026" / "b.parquet", index=False)
    with pytest.raises(ConfigurationError, match="don't lie in folders of the same names"):
        open_source(tmp_path)


def test_a_run_over_a_folder(server: MessagesServer, tmp_path: Path, home: Path) -> None:
    folder = tmp_path / "reviews"
    dd.from_pandas(texts(90), npartitions=12).to_parquet(folder, write_index=False)
    run = Asker(server, home).run(f"{folder}/", chunk_size=40)
    assert list(run.frame["response"]) == echoes(texts(90))
    assert list(run.frame["text"]) == list(texts(90)["text"])
