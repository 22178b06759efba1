"""The measurements' own tools: a server that says what can be read, tables and charts."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.request import Request, urlopen
from xml.etree import ElementTree

from ondine_nb.providers import Answer
from tests.bench.compare import NAMES, Cell
from tests.bench.contestants import Figures
from tests.bench.peers import environments
from tests.bench.plot import Chart, Line, drawn
from tests.bench.report import measure, ratio, table
from tests.bench.wire import FIELDS, TEXT, answer, serving


def test_what_the_lean_server_says_is_a_message() -> None:
    assert Answer.read(answer(TEXT)).usable_text() == TEXT


def test_who_sends_a_schema_as_a_tool_is_answered_by_its_call() -> None:
    with serving(schema=True) as wire:
        asked = Request(f"{wire.url}/v1/messages", b'{"tools": []}', method="POST")
        with urlopen(asked) as answered:
            message = json.loads(answered.read())
    assert message["stop_reason"] == "tool_use"
    assert [block["input"] for block in message["content"]] == [FIELDS]


def test_a_peer_that_fails_is_left_out_and_the_others_are_measured(tmp_path: Path) -> None:
    python = tmp_path / "ondine" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    peers = environments(tmp_path)
    assert peers["ondine"] == str(python)
    cell = Cell("0", 10, False, 20, {"ondine": peers["ondine"]})
    found = cell.rounds(1)
    assert list(found) == list(NAMES)
    assert len(cell.lines(found)) == len(NAMES)


def test_the_least_contestant_asks_each_row_once() -> None:
    with serving("0.01", schema=True) as wire:
        assert wire.books() == {"requests": 0, "first": None}
        figures = measure("aiohttp", wire.url, rows=30, concurrency=10)
        assert wire.books()["requests"] == 30 + 20  # as many for warming up
    assert figures.rows == 30
    assert figures.seconds > 0.03
    assert figures.cpu > 0


def test_a_ratio_is_the_median_within_rounds_not_of_medians() -> None:
    ours = [Figures(1, seconds) for seconds in (1, 10, 3)]
    theirs = [Figures(1, seconds) for seconds in (2, 20, 3)]
    assert ratio(ours, theirs, lambda each: each.seconds) == 0.5


def test_a_table_is_markdown() -> None:
    lines = table(("a", "bb"), [["1", "2"]]).splitlines()
    assert lines == ["| a | bb |", "|--:|---:|", "| 1 |  2 |"]


def test_charts_are_one_drawing_with_every_point() -> None:
    lines = [Line("in <memory>", [(1, 0.02), (10, 0.3), (1000, 40)]), Line("b", [(1, 1), (10, 1)])]
    svg = drawn([Chart("seconds", "rows", lines)] * 3)
    root = ElementTree.fromstring(svg)
    curves = [path.get("d", "") for path in root.iter("{http://www.w3.org/2000/svg}path")]
    assert sum(path.count("L") == 2 for path in curves) == 3
    assert "in <memory>" in "".join(root.itertext())
