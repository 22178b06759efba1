"""The results view as HTML and text: the summary, a page of rows, the view without widgets."""

from __future__ import annotations

import re
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from ondine_nb import Run
from ondine_nb.notebook.results.page import page_of, plain, render, static, summary_of
from ondine_nb.notebook.results.query import Query, Results
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


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return ended_run(reviews(300), tmp_path, failing=0.1)


@pytest.fixture
def results(run: Run) -> Results:
    return Results(run)


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", stripped(html)).split())


def test_a_page_says_where_it_is_and_never_goes_past_the_end(results: Results) -> None:
    page = page_of(results, range(45), Query(page=1))
    assert page.text == "21 to 40 of 45 rows that match, of 300"
    assert [line.position for line in page.lines] == list(range(20, 40))
    last = page_of(results, range(45), Query(page=99))
    assert (last.page, last.pages, len(last.lines)) == (2, 3, 5)
    assert page_of(results, range(300), Query()).text == "1 to 20 of 300 rows"
    assert page_of(results, [], Query(page=3)).text == "no row of 300 matches"


def test_a_failed_row_says_why_across_its_new_columns(results: Results) -> None:
    (at, *_) = results.failures()["refusal"]
    (line,) = page_of(results, [at], Query()).lines
    reason = next(cell for cell in line.cells if "why" in cell[1])
    assert reason[0].startswith("refusal: the model refused")
    assert reason[2] == 4
    assert sum(columns for *_, columns in line.cells) == len(results.heads)


def test_the_table_has_heads_roles_and_one_tinted_cell_for_each_new_value(
    results: Results,
) -> None:
    page = page_of(results, [0, 1], Query(sort=5, descending=True))
    html = render("table", page=page, opened=1)
    assert is_well_formed(html)
    assert html.count('scope="col"') == len(results.heads) + 1
    assert html.count('scope="row"') == 2
    assert html.count('aria-sort="descending"') == 1
    assert html.count('class="is-open"') == 1
    assert 'role="region"' in html


def test_unknown_prices_are_unknown_and_never_nothing(tmp_path: Path) -> None:
    run = ended_run(reviews(50), tmp_path, model="some-model-of-our-own")
    results = Results(run)
    assert results.cost() is None
    html = render("head", summary=summary_of(results))
    assert "unknown" in html
    assert "$0" not in html
    costs = [line.cells[-4][0] for line in page_of(results, range(50), Query()).lines]
    assert set(costs) == {"–"}


def test_the_cost_is_the_exact_sum_of_the_rows(results: Results) -> None:
    rows = [row.cost for row in results.rows if row is not None]
    assert results.cost() == sum(rows, Decimal(0))


def test_the_static_view_says_it_all_once_style_and_drawings_are_stripped(
    results: Results,
) -> None:
    html = static(results, summary_of(results), "m")
    assert is_well_formed(html)
    text = words(html)
    counts = results.counts()
    for fact in (
        f"{counts['answered']:,} answered", f"{counts['failed']:,} failed", "1 to 20 of 300 rows",
        "labeled_run.errors", "sentiment", "median", f"{counts['failed']:,} missing", "refusal",
    ):  # fmt: skip
        assert fact in text, fact
    assert re.search(r"positive \d+ \d+ %", text)
    assert html.count("ondine-results-static ") == 1
    assert len(html) < 60_000


def test_plain_text_has_the_counts_the_spread_and_the_first_rows(results: Results) -> None:
    text = plain(results, summary_of(results))
    assert text.splitlines()[0].startswith("labeled: results (reviews · claude-haiku-5-5")
    assert "sentiment: positive" in text
    assert "1 to 10 of 300 rows" in text
    assert "failures: refusal" in text
    assert all(ord(sign) >= 32 or sign == "\n" for sign in text)


def test_hurtful_data_runs_nothing_in_any_part(tmp_path: Path) -> None:
    data = pd.DataFrame({"text": pd.Series(list(EVIL), dtype=object), EVIL[1]: 1, EVIL[2]: 2})
    run = ended_run(data, tmp_path, prompt="Tell {text}", schema="", column=EVIL[0], failing=0)
    run.name = EVIL[1]
    for at, row in enumerate(run.plan.rowset.rows):
        assert row is not None
        row.outputs = {EVIL[0]: EVIL[at]}
    results = Results(run)
    summary = summary_of(results)
    parts = [
        render("head", summary=summary),
        render("plots", summary=summary),
        render("table", page=page_of(results, range(len(EVIL)), Query())),
        static(results, summary, "m"),
    ]
    for html in parts:
        assert is_well_formed(html)
        for hurtful in ("<script", "<img", "\x1b", "\x00", "\u202e", "\ud800"):
            assert hurtful not in html
        assert len(html) < 100_000
    assert "49" not in words(parts[2])


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
    assert "no rows" in words(static(results, summary, "m"))
    assert summary.figures[0].value == "0"
