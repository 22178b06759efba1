"""Runs from files and frames to files: codes survive, and what can't be written isn't paid for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from ondine_nb.errors import ConfigurationError
from tests.asking import Asker, echoes
from tests.server import MessagesServer

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF"


def test_codes_survive_from_csv_to_csv(server: MessagesServer, tmp_path: Path, home: Path) -> None:
    (tmp_path / "in.csv").write_text("plz,n,text\n01234,1,a\n501,2,NA\n")
    asker = Asker(server, home)
    out = tmp_path / "out.csv"
    asker.run(tmp_path / "in.csv", "{plz} {n} {text}", to=str(out))
    lines = out.read_text().splitlines()
    assert [line.rpartition(",")[0] for line in lines[1:]] == ["01234,1,a", "501,2,NA"]
    frame = asker.run(tmp_path / "in.csv", "{plz}", dtypes="n: str").frame
    assert frame["n"].to_list() == ["1", "2"]


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
@pytest.mark.parametrize("name", ["out.csv", "out.jsonl"])
def test_what_the_file_cant_hold_is_refused_and_nothing_is_sent(
    make: Any, name: str, server: MessagesServer, tmp_path: Path, home: Path
) -> None:
    frame = make({"text": ["a"], "photo": [JPEG]})
    with pytest.raises(ConfigurationError, match="column 'photo' holds bytes"):
        Asker(server, home).run(frame, to=str(tmp_path / name))
    assert list(tmp_path.glob("*out*")) == []
    run = Asker(server, home).run(frame, to=str(tmp_path / "out.parquet"))
    assert run.state == "done"


@pytest.mark.parametrize("way", ["path", "another path", "plan", "folder", "into the folder"])
def test_what_is_read_is_never_written_over_by_a_run_that_may_be_stopped(
    way: str, server: MessagesServer, tmp_path: Path, home: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    file = folder / "part.0.parquet"
    pl.DataFrame({"text": ["a", "b"]}).write_parquet(file)
    data, target = {
        "path": (file, str(file)),
        "another path": (str(file), f"{folder}/../in/part.0.parquet"),
        "plan": (pl.scan_parquet(file), str(file)),
        "folder": (folder, f"{folder}/"),
        "into the folder": (folder, f"{folder}/more.parquet"),
    }[way]
    with pytest.raises(ConfigurationError, match="is read from: name another file"):
        Asker(server, home).run(data, to=target)
    assert server.arrived == 0
    assert pl.read_parquet(file).shape == (2, 1)
    assert Asker(server, home).run(data, to=str(tmp_path / "out.parquet")).state == "done"


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_bytes_that_are_no_text_fail_their_row_and_are_never_sent(
    make: Any, server: MessagesServer, home: Path
) -> None:
    run = Asker(server, home).run(make({"text": [JPEG, b"fine"]}))
    assert list(run.frame["response"])[1] == echoes(make({"text": ["fine"]}))[0]
    assert "10 bytes that are no UTF-8 text (they begin with FF D8 FF E0)" in next(
        iter(run.errors["message"])
    )
    assert list(run.errors["row"]) == [0]
