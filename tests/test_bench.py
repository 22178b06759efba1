"""The measurements' own tools: a server that says what can be read, tables and charts."""

from __future__ import annotations

from xml.etree import ElementTree

from ondine_nb.providers import Answer
from tests.bench.contestants import Figures
from tests.bench.plot import Chart, Line, drawn
from tests.bench.report import measure, ratio, table
from tests.bench.wire import TEXT, answer, serving


def test_what_the_lean_server_says_is_a_message() -> None:
    assert Answer.read(answer(TEXT)).usable_text() == TEXT


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
