"""The measurements' own tools: a server that says what can be read, tables and charts."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree
from urllib.request import Request, urlopen
from xml.etree import ElementTree

import pytest

from ondine_nb.providers import Answer
from ondine_nb.providers.openai.answers import read_chat
from tests.bench.compare import NAMES, Cell
from tests.bench.contestants import Figures
from tests.bench.peers import environments
from tests.bench.plot import Chart, Line, drawn
from tests.bench.report import ROOT, measure, ratio, table
from tests.bench.trace import Counts, added, counts, traced
from tests.bench.wire import FIELDS, TEXT, answer, completion, serving


def test_what_the_lean_server_says_is_a_message() -> None:
    assert Answer.read(answer(TEXT)).usable_text() == TEXT
    assert read_chat(completion(TEXT)).usable_text() == TEXT


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


def test_a_trace_counts_what_each_row_adds_and_shows_its_way() -> None:
    rows, more = 2, 3
    found = traced(ROOT, (rows, rows + 1, rows + more), repeat=1)
    further = [figure.middle for figure in found.further(rows, more)]
    modules, calls, changes, starts, start_changes, return_changes = further
    assert 1 < modules < changes < calls
    assert 1 < start_changes < starts < calls
    assert changes < return_changes
    way = [block for piece in found.way(rows) for block in piece]
    assert len({block.module for block in way}) >= modules
    # The way is as long as the trace counts; now and then the loop turns once more.
    names = [name for block in way for name in block.functions]
    assert abs(len(names) - calls) <= 10
    assert abs(sum(name.startswith("…") for name in names) - (calls - starts)) <= 10


def test_a_trace_of_another_checkout_without_the_wire_has_no_module_of_it(tmp_path: Path) -> None:
    copytree(ROOT / "ondine_nb", tmp_path / "ondine_nb")  # with what is compiled of it
    found = traced(tmp_path, (2, 3), repeat=1, own=True)
    modules = {block.module for piece in found.way(2) for block in piece}
    assert modules
    assert not any("anthropic" in module for module in modules)


def test_a_change_is_a_call_into_another_module_than_the_call_before_it() -> None:
    functions = [("a", "f"), ("a", "g"), ("b", "h")]
    start, resume, back = 0, 1, 2
    # f calls g, which returns, then h, which returns, and is resumed.
    walk = [(start, 0), (start, 1), (back, 0), (start, 2), (back, 0), (resume, 0), (resume, 2)]
    assert counts(walk, functions) == Counts(
        modules=2, calls=5, changes=3, starts=3, start_changes=1, return_changes=3
    )


def test_what_a_further_row_adds_to_a_walk_begins_where_its_loop_does() -> None:
    row = [(0, number) for number in (3, 4, 4, 5, 6, 3, 7)]
    before, after = [(0, number) for number in range(20, 40)], [(0, 1)] * 20
    three, four = ([*before, *row * rows, *after] for rows in (3, 4))
    assert added(three, four) == [row]
    assert added([*before, (0, 9), *row * 3, *after], four) == [row]  # a tick, in the other only
    assert added(four, four) == []


def test_a_folder_that_is_no_checkout_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=f"{tmp_path} has no folder ondine_nb"):
        traced(tmp_path, (1,))
