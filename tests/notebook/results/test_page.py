"""The results view without a browser: its static HTML and its plain text."""

from __future__ import annotations

import re
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from ondine_nb import Run
from ondine_nb.notebook.results.page import plain, static, summary_of
from ondine_nb.notebook.results.table import Results
from tests.notebook.ended_runs import EVIL, ended_run, reviews
from tests.notebook.shots import stripped

VOID = {"br", "img", "input", "col", "rect"}


class Checker(HTMLParser):
    """Finds tags that are closed in the wrong order, or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def is_well_formed(html: str) -> bool:
    checker = Checker()
    checker.feed(html)
    return not checker.wrong and not checker.open


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", stripped(html)).split())


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return ended_run(reviews(300), tmp_path, failing=0.1)


@pytest.fixture
def results(run: Run) -> Results:
    return Results(run)


def test_the_cost_is_the_exact_sum_of_the_rows(results: Results) -> None:
    rows = [row.cost for row in results.rows if row is not None]
    assert results.cost() == sum(rows, Decimal(0))


def test_unknown_prices_are_unknown_and_never_nothing(tmp_path: Path) -> None:
    results = Results(ended_run(reviews(9), tmp_path, model="nobody-knows-it"))
    summary = summary_of(results)
    assert "price unknown" in summary.facts
    assert "$0" not in plain(results, summary)


def test_the_static_view_says_it_all_once_style_and_drawings_are_stripped(
    results: Results,
) -> None:
    html = static(results, summary_of(results), "m")
    assert is_well_formed(html)
    assert "<svg" not in html
    text = words(stripped(html))
    counts = results.counts()
    for fact in (
        "300 rows", f"{counts['failed']:,} failed", "the first 20 of 300 rows", "refusal",
        "labeled_run.errors", "sentiment", "median", f"no answer {counts['failed']:,}",
        "positive", "neutral",
    ):  # fmt: skip
        assert fact in text, fact
    assert "<meter" in stripped(html)
    assert html.count("ondine-results-static ") == 1
    assert len(html) < 60_000


def test_a_failed_row_says_why_in_the_place_of_its_answers(results: Results) -> None:
    html = static(results, summary_of(results), "m")
    shown = [at for at in results.failed if at < 20]
    assert shown
    assert html.count('colspan="4"') == len(shown)


def test_plain_text_has_the_counts_the_spread_and_the_first_rows(results: Results) -> None:
    text = plain(results, summary_of(results))
    assert text.splitlines()[0].startswith("labeled: reviews · claude-haiku-5-5 · 300 rows")
    assert "sentiment: positive" in text
    assert "the first 10 of 300 rows" in text
    assert "failures: refusal" in text
    assert all(ord(sign) >= 32 or sign == "\n" for sign in text)


def test_hurtful_data_runs_nothing_in_the_static_view(tmp_path: Path) -> None:
    data = pd.DataFrame({"text": pd.Series(list(EVIL), dtype=object), EVIL[1]: 1, EVIL[2]: 2})
    run = ended_run(data, tmp_path, prompt="Tell {text}", schema="", column=EVIL[0], failing=0)
    run.name = EVIL[1]
    for at, row in enumerate(run.plan.rowset.rows):
        assert row is not None
        row.outputs = {EVIL[0]: EVIL[at]}
    results = Results(run)
    html = static(results, summary_of(results), "m")
    assert is_well_formed(html)
    for hurtful in ("<script", "<img", "\x1b", "\x00", "\u202e", "\ud800"):
        assert hurtful not in html
    text = plain(results, summary_of(results))
    assert not any(sign in text for sign in ("\x1b", "\x00", "\u202e", "\ud800"))
    assert len(html) < 100_000
    assert "49" not in words(html)


def test_a_run_that_keeps_no_rows_says_so_in_one_line(run: Run) -> None:
    object.__setattr__(run.plan, "rowset", None)
    run.plan.stages[:] = []
    results = Results(run)
    summary = summary_of(results)
    html = static(results, summary, "m")
    assert "keeps no record of each row" in html
    assert "<table" not in html
    assert plain(results, summary).endswith(summary.streamed)


def test_an_empty_frame_has_no_rows_and_no_figures_that_lie(tmp_path: Path) -> None:
    results = Results(ended_run(reviews(5).head(0), tmp_path))
    summary = summary_of(results)
    assert "0 rows" in summary.facts
    assert "no rows" in words(static(results, summary, "m"))


def test_any_frame_has_a_view(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=pd.Index([7, 9], name="key"))
    results = Results(frame=frame, name="mine")
    text = plain(results, summary_of(results))
    assert text.startswith("mine: 2 rows")
    assert "key" in text
    assert is_well_formed(static(results, summary_of(results), "m"))
