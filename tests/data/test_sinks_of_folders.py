"""`--to folder/`: Parquet files in a folder that is in place when the last of them is whole."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from ondine_nb.data import sinks as sink_folders
from ondine_nb.data.sinks import open_target
from ondine_nb.errors import ConfigurationError, RunError
from tests.asking import Asker, echoes, texts
from tests.server import MessagesServer


def test_chunks_go_into_files_of_so_many_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_folders, "_PART_ROWS", 25)
    with open_target(f"{tmp_path}/out/") as sink:
        for start in range(0, 60, 10):
            sink.write(texts(10, start=start))
        assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "part.0.parquet",
        "part.1.parquet",
    ]
    assert sink.rows == 60
    assert pd.read_parquet(tmp_path / "out").equals(texts(60))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_older_folder_of_parts_is_replaced_at_the_end_and_kept_if_discarded(
    tmp_path: Path,
) -> None:
    for rows in (3, 5):
        with open_target(f"{tmp_path}/out/") as sink:
            sink.write(pl.DataFrame(texts(rows)))
    assert len(pl.read_parquet(tmp_path / "out")) == 5
    sink = open_target(f"{tmp_path}/out/")
    sink.write(texts(9))
    sink.discard()
    assert len(pl.read_parquet(tmp_path / "out")) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("…")
    with pytest.raises(ConfigurationError, match="other things than part"):
        open_target(f"{tmp_path}/")
    with pytest.raises(ConfigurationError, match="No such file"):
        open_target(f"{tmp_path}/not/there/")
    with pytest.raises(RunError, match="no chunk was written"):
        open_target(f"{tmp_path}/out/").close()


def test_a_run_writes_a_folder_that_the_next_one_reads(
    server: MessagesServer, tmp_path: Path, home: Path
) -> None:
    asker, folder = Asker(server, home), tmp_path / "out"
    run = asker.run(texts(50), to=f"{folder}/", chunk_size=20)
    assert run.error is None
    assert list(pd.read_parquet(folder)["response"]) == echoes(texts(50))
    again = asker.run(folder, "Again: {response}", column="second")
    assert len(again.frame) == 50
