"""The card of a run: its facts, its texts, and that nothing in the data can become markup."""

from __future__ import annotations

import html
import re
import time
from collections import Counter, deque
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.models import CostEstimate, Failure, Usage
from ondine_nb.notebook.card.card import Card, plain, render
from ondine_nb.notebook.card.figures import ENDED
from ondine_nb.notebook.card.throughput import Throughput
from ondine_nb.notebook.ui.text import clean, money, rate, safe, short, span, time_left
from ondine_nb.orchestration import Sample
from tests.notebook.shots import (
    ESTIMATE,
    NO_FAILURES,
    NOTHING_SAVED,
    SPENDING,
    TREND,
    FakeRun,
    batch_run,
    context,
    done_run,
    live_run,
    samples,
    stripped,
)

NOTHING = {"processed_rows": 0, "journal_rows": 0, "failed_rows": 0, "usage": Usage(),
           "accumulated_cost": Decimal(0)}  # fmt: skip
ALL_FROM_JOURNAL = {"processed_rows": 10_000, "journal_rows": 10_000, "failed_rows": 0,
                    "usage": Usage(), "accumulated_cost": Decimal(0)}  # fmt: skip


class Page(HTMLParser):
    """What a browser would make of a card: its elements, and the text outside of `<style>`."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if not self.elements or self.elements[-1][0] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    @property
    def root(self) -> dict[str, str | None]:
        (root,) = [at for _, at in self.elements if "ondine-run" in (at.get("class") or "").split()]
        return root


def page(run: Any, pace: Throughput | None = None, live: bool = False) -> Page:
    return Page(render(Card.of(run, pace), live))


# --- facts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("live", [True, False])
def test_there_is_one_root_and_it_carries_the_facts(live: bool) -> None:
    source = render(Card.of(live_run()), live)
    assert source.startswith('<div class="ondine-run')
    assert source.count("<div") == source.count("</div>")
    root = Page(source).root
    facts = {name: root[f"data-{name}"] for name in ("state", "done", "total", "failed", "cost")}
    assert facts == {
        "state": "running", "done": "5904", "total": "10000", "failed": "100", "cost": "0.3127",
    }  # fmt: skip


@pytest.mark.parametrize("run", [live_run(), done_run()])
def test_a_card_that_is_only_shown_live_looks_the_same(run: Any) -> None:
    pace = Throughput(61.4)
    only = Card.of(run, pace, live=True)
    assert render(only, live=True) == render(Card.of(run, pace), live=True)


def test_the_live_card_counts_rows_by_their_outcome() -> None:
    text = page(live_run(), Throughput(61.4), live=True).text
    assert (
        "5,904 of 10,000 rows · 4,604 answered · 1,200 from journal · 100 failed · 300 in flight"
    ) in text
    assert "about 1 min 10 s left" in text
    assert "$0.3127 of $2.00 budget · $0.57 to $0.60 at the end" in text
    assert "saved $0.19: $0.14 journal · $0.04 caching · $0.014 equal rows" in text
    assert "61.4 rows/s" in text
    assert "1.9 s p50 · 4.2 s p95" in text
    assert "300 at once · held by rate limit" in text
    assert "tokens 1.21 M in (980 k cached) · 92 k out · 12 retries" in text
    assert "100 failed: refusal 61 · schema not met 31 · cut at max_tokens 8" in text
    assert "last, row 5,871: score: 'very good' is not a number" in text
    assert "possibly billed" not in text


def test_the_last_rows_come_newest_first_by_position_with_new_columns_marked() -> None:
    table = Card.of(live_run()).table
    assert table is not None
    assert [text for text, *_ in table.heads] == ["row", "text", "sentiment", "score"]
    assert [row[0][0] for row in table.rows] == ["5,903", "5,899", "5,897"]
    assert table.rows[0][2:] == (("negative", "new"), ("0.97", "new"))


def test_a_wide_frame_shows_its_first_columns_only() -> None:
    wide = Sample(0, {f"in{at}": at for at in range(60)}, {f"out{at}": at for at in range(60)})
    names = tuple(f"out{at}" for at in range(60))
    card = Card.of(live_run(columns=names, metrics={"recent": deque([wide])}))
    assert card.table is not None
    assert len(card.table.heads) == 1 + 4 + 6
    assert card.about[-1].endswith("out11 and 48 more")


def test_the_bar_fills_up_to_what_is_done_and_never_overflows() -> None:
    card = Card.of(live_run(metrics={"in_flight": 9000}))
    shares = {count.kind: count.share for count in card.counts}
    assert shares == {"done": 46.04, "journal": 12.0, "failed": 1.0, "flight": 40.96}
    assert sum(shares.values()) == pytest.approx(100)


def test_the_static_card_says_how_it_ended_and_where_the_errors_are() -> None:
    text = page(done_run()).text
    assert text.startswith("labeled reviews · claude-haiku-5-5 · sentiment, score done in 2 min 41")
    assert "10,000 rows · 8,700 answered · 1,200 from journal" in text
    assert "100 failed · see labeled_run.errors" in text
    assert "$0.5391 of $2.00 budget estimate was $0.47 to $0.61" in text
    assert "$0.19 saved · $0.14 journal · $0.04 caching · $0.014 equal rows" in text
    assert "54.7 rows/s" in text  # of the 8,800 that were asked


def test_a_run_out_of_budget_says_what_stopped_it_and_what_did_not_run() -> None:
    run, _, _ = samples()["out of budget"]
    text = page(run).text
    assert "stopped after 2 min 41 s" in text
    assert "out of budget: the next request may cost $0.0031, $0.0016 is left" in text
    assert "5,904 of 10,000 rows · 4,604 answered · 1,200 from journal · 100 failed" in text
    assert "4,096 not run" in text
    assert "$0.0042 possibly billed" in text


def test_a_failed_run_says_why_once_and_quotes_no_key() -> None:
    error = RuntimeError("the key sk-ant-api03-Secret_0123 was refused")
    text = page(done_run(state="failed", error=error, metrics={"message": str(error)})).text
    assert text.count("was refused") == 1
    assert "RuntimeError: the key sk-… was refused" in text
    assert "Secret" not in text


def test_all_rows_from_the_journal_is_said_in_words_with_zero_dollars() -> None:
    run = done_run(counts=ALL_FROM_JOURNAL, metrics=NO_FAILURES, priced=False)
    text = page(run).text
    assert "10,000 rows from the journal, $0" in text
    assert "estimate" not in text
    assert Card.of(run).cost == 0


def test_it_is_not_said_while_other_rows_are_to_come() -> None:
    counts = {**ALL_FROM_JOURNAL, "processed_rows": 1200, "journal_rows": 1200}
    assert "rows from the journal, $0" not in page(live_run(counts=counts), live=True).text


@pytest.mark.parametrize("live", [True, False])
def test_an_unknown_price_is_never_zero_dollars(live: bool) -> None:
    run = live_run(priced=False, counts={"accumulated_cost": Decimal(0)})
    shown = page(run, live=live)
    assert "price unknown" in shown.text
    assert "$0" not in shown.text
    assert shown.root["data-cost"] == ""
    assert "price unknown" in plain(Card.of(run))


def test_the_embedded_model_costs_nothing_and_says_what_it_is() -> None:
    run, pace, _ = samples()["embedded model"]
    text = page(run, pace, live=True).text
    assert "$0 cost" in text
    assert "SmolLM2-135M on this machine" in text


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("state", ["pending", "running", "done", "stopped", "failed"])
def test_no_rows_shows_well(live: bool, state: str) -> None:
    run = done_run(state=state, counts={**NOTHING, "total_rows": 0}, metrics=NO_FAILURES)
    shown = page(run, Throughput(0.0), live=live)
    assert shown.root["data-total"] == "0"
    assert "0 rows" in shown.text
    assert "nan" not in shown.text
    assert ("reviews has no rows: nothing was sent" in shown.text) == (state in ENDED)


def test_nothing_is_estimated_before_there_is_data() -> None:
    run, _, _ = samples()["just started"]
    text = page(run, None, live=True).text
    assert "left" not in text
    assert "at the end" not in text
    assert "– rows/s" in text
    assert "– p50 latency" in text


def test_a_stream_that_does_not_know_its_total_shows_no_total() -> None:
    text = page(FakeRun(context=context(5, processed_rows=70)), Throughput(7.0), live=True).text
    assert "70 rows · 70 answered" in text
    assert "of 70" not in text
    assert "left" not in text


def test_a_run_without_buttons_says_how_it_is_stopped() -> None:
    assert "use Interrupt (■) to stop" in page(live_run(interrupt_only=True), live=True).text
    assert "Interrupt" not in page(done_run(interrupt_only=True)).text


def test_a_card_shown_in_mid_run_says_that_it_is_a_snapshot() -> None:
    assert "a snapshot, 1 min 36 s so far: show labeled_run again" in page(live_run()).text


def test_a_single_estimate_and_an_unknown_one_are_told_apart() -> None:
    def shown(**bounds: Any) -> str:
        return page(done_run(estimate=CostEstimate(rows=1, **TOKENS, **bounds))).text

    assert "$0.50 was the estimate" in shown(total_cost=Decimal("0.5"))
    assert "estimate" not in shown(total_cost=None)


TOKENS: dict[str, Any] = {"total_tokens": 0, "input_tokens": 0, "output_tokens": 0}


# --- plain and stripped --------------------------------------------------------------------------


def test_plain_text_has_the_same_facts() -> None:
    lines = plain(Card.of(done_run())).splitlines()
    assert lines[0] == (
        "labeled: done in 2 min 41 s (reviews · claude-haiku-5-5 · sentiment, score)"
    )
    assert lines[1] == ("10,000 of 10,000 rows · 8,700 answered · 1,200 from journal · 100 failed")
    assert "$0.5391 of $2.00 budget" in lines[2]
    assert lines[4].endswith("cut at max_tokens 8 · see labeled_run.errors")


@pytest.mark.parametrize("name", samples())
def test_with_all_style_stripped_words_stay_apart(name: str) -> None:
    run, pace, live = samples()[name]
    bare = stripped(render(Card.of(run, pace), live))
    assert "<style" not in bare
    assert "class=" not in bare
    for left, right in re.findall(r"(\w+)</[\w]+><[\w]+[^>]*>(\w+)", bare):
        pytest.fail(f"'{left}' and '{right}' are glued together")


def test_stripped_of_style_the_card_begins_with_a_heading_line() -> None:
    bare = stripped(render(Card.of(done_run()), live=False))
    first = re.search(r"(?s)<p>(.*?)</p>", bare)
    assert first is not None
    assert " ".join(html.unescape(re.sub(r"<[^>]+>", "", first[1])).split()) == (
        "labeled reviews · claude-haiku-5-5 · sentiment, score done in 2 min 41 s"
    )


def test_the_last_rows_are_a_real_table() -> None:
    tags = [tag for tag, _ in page(live_run(), live=True).elements]
    assert tags.count("table") == 1
    assert tags.count("th") == 4
    assert tags.count("td") == 12


@pytest.mark.parametrize("name", samples())
def test_an_update_is_small(name: str) -> None:
    run, pace, _ = samples()[name]
    assert len(render(Card.of(run, pace), live=True).encode()) < 5000


# --- hostile strings -----------------------------------------------------------------------------

ALLOWED_TAGS = {"div", "style", "p", "strong", "span", "bdi", "em", "i", "ul", "li", "svg",
                "polyline", "title", "details", "summary", "table", "colgroup", "col", "thead",
                "tbody", "tr", "th", "td"}  # fmt: skip
ALLOWED_ATTRIBUTES = {"class", "style", "title", "role", "aria-label", "aria-live", "aria-hidden",
                      "dir", "scope", "points", "viewbox", "preserveaspectratio", "data-state",
                      "data-done", "data-total", "data-failed", "data-cost",
                      "aria-valuemin", "aria-valuemax", "aria-valuenow",
                      "aria-valuetext"}  # fmt: skip
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7*7 }} {% raw %} {{ ''.__class__ }}",
    "</style><script>1</script>",
    "<!-- ]]> <![CDATA[",
    "&lt;b&gt; &amp;",
]
weird = st.one_of(st.text(), st.sampled_from(HOSTILE), st.characters(categories=["Cs", "Cc", "Cf"]))


def hostile_run(text: str) -> FakeRun:
    """A run in which every text is `text`."""
    failure = Failure(1, text, text, text, 1, text)
    return FakeRun(
        name=text, source=text, model=text, columns=(text, "other"), state=text, note=text,
        error=RuntimeError(text),
        context=context(
            5, total_rows=10, processed_rows=3, failed_rows=1,
            metrics={
                "recent": deque([Sample(0, {text: text}, {text: text, "other": [text]})]),
                "failures": Counter({text: 1}), "last_error": failure, "message": text,
                "first_failures": {text: [failure]},
                "concurrency_note": text, "concurrency": 1,
            },
        ),
    )  # fmt: skip


@given(weird)
def test_no_text_becomes_markup_and_all_text_comes_back(text: str) -> None:
    run = hostile_run(text)
    for live in (True, False):
        shown = Page(render(Card.of(run), live, opened=True))
        assert {tag for tag, _ in shown.elements} <= ALLOWED_TAGS
        assert {name for _, at in shown.elements for name in at} <= ALLOWED_ATTRIBUTES
        assert " ".join(clean(text).split()) in shown.text
        "".join(shown.texts).encode()  # no lone surrogate is left


@given(weird)
def test_plain_text_holds_no_control_characters(text: str) -> None:
    shown = plain(Card.of(hostile_run(text)))
    assert not [mark for mark in shown if ord(mark) < 32 and mark != "\n"]
    assert not set(shown) & set("\x7f\x9b\u202e\u2066")


@pytest.mark.parametrize("text", HOSTILE)
def test_well_known_attacks_are_text(text: str) -> None:
    shown = page(hostile_run(text), live=True)
    assert not [tag for tag, _ in shown.elements if tag in ("script", "img")]
    assert clean(text) in shown.text


def test_a_huge_cell_is_cut_before_it_is_html() -> None:
    huge = Sample(0, {"text": "<" * 100_000}, {"sentiment": ["x" * 100_000] * 1000, "score": None})
    source = render(Card.of(live_run(metrics={"recent": deque([huge])})), live=True)
    assert len(source) < 6000


def test_a_value_that_cannot_be_shown_does_not_hide_the_others() -> None:
    class Broken:
        def __str__(self) -> str:
            raise ValueError("no")

    sample = Sample(0, {"text": Broken()}, {"sentiment": float("nan"), "score": 10**5000})
    table = Card.of(live_run(metrics={"recent": deque([sample])})).table
    assert table is not None
    assert [text for text, _ in table.rows[0]] == ["0", "<Broken>", "–", "<int>"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("two\nlines\t and   space", "two lines and space"),
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("abc\u202edef\u2066", "abcdef"),
        ("\ud800", "\ufffd"),
        ("x" * 300, "x" * 199 + "…"),
        (None, ""),
        (float("nan"), ""),
        (0.97, "0.97"),
        (True, "True"),
        ([1, "a"], "[1, 'a']"),
        ("שלום \u200f", "שלום \u200f"),
    ],
)
def test_clean(value: object, shown: str) -> None:
    assert clean(value) == shown


def test_a_key_in_a_message_is_not_shown() -> None:
    assert safe("bad key sk-ant-api03-abcdef_1, sorry") == "bad key sk-…, sorry"
    for key in ("gsk_0123456789", "xai-0123456789", "AIzaSy0123456789", "fw_0123456789"):
        assert "0123456789" not in safe(f"bad key {key}, sorry")


def test_a_run_paused_by_an_outage_says_why_and_counts_down_to_the_next_try() -> None:
    metrics = {"message": "paused: the server answers nothing (overloaded)"}
    run = live_run(state="paused", metrics={**metrics, "message_until": time.monotonic() + 7.5})
    assert "answers nothing (overloaded); next try in 8 s" in page(run, live=True).text
    run = live_run(state="paused", metrics={**metrics, "message_until": time.monotonic() - 1})
    assert "answers nothing (overloaded); trying now" in page(run, live=True).text
    assert "next try" not in page(done_run(metrics=metrics)).text


def test_usd_a_minute_is_0_while_nothing_is_sent() -> None:
    pace = Throughput(61.4, TREND, SPENDING, TREND, SPENDING)
    assert "$0.17 a minute" in page(live_run(), pace, live=True).text
    for state in ("paused", "stopping"):
        assert "$0 a minute" in page(live_run(state=state), pace, live=True).text


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0"), ("0E-9", "$0"), ("2", "$2.00"), ("0.5", "$0.50"), ("0.5391", "$0.5391"),
        ("0.0009", "$0.0009"), ("0.000037", "$0.000037"), ("1.99996", "$2.0000"),
        ("1234.567", "$1,234.57"), ("NaN", "unknown"),
    ],
)  # fmt: skip
def test_money(amount: str, shown: str) -> None:
    assert money(Decimal(amount)) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (0.34, "340 ms"), (0.999, "1.0 s"), (4.21, "4.2 s"), (41.4, "41 s"),
     (59.7, "1 min 0 s"), (161, "2 min 41 s"), (3840, "1 h 04 min")],
)  # fmt: skip
def test_span(seconds: float, shown: str) -> None:
    assert span(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(3, "a few seconds left"), (42, "about 45 s left"), (66.7, "about 1 min 10 s left"),
     (118, "about 2 min left"), (700, "about 12 min left"), (5000, "about 1 h 24 min left")],
)  # fmt: skip
def test_time_left(seconds: float, shown: str) -> None:
    assert time_left(seconds) == shown


def test_rates_and_counts() -> None:
    assert rate(0.05) == ("3.0", "rows/min")
    assert rate(61.44) == ("61.4", "rows/s")
    assert rate(1234.5) == ("1,234", "rows/s")
    assert [short(n) for n in (812, 4100, 92_000, 999_950, 1_210_000)] == [
        "812", "4.1 k", "92 k", "1000 k", "1.21 M",
    ]  # fmt: skip


# --- failures, streams, trends -------------------------------------------------------------------


def test_kinds_of_failures_open_to_their_first_rows() -> None:
    text = Page(render(Card.of(live_run()), live=True, opened=True)).text
    assert "schema not met 31 row 17 score: 'nine' is not a number" in text
    assert "row 203 score: '<b>high</b>' is not a number" in text
    assert "and 26 more, in labeled_run.errors" in text
    assert "row 17" not in page(live_run(), live=True).text
    static = page(done_run())
    assert [tag for tag, _ in static.elements].count("details") == 1
    assert "failures: refusal 61 · schema not met 31 · cut at max_tokens 8" in static.text
    assert "row 3,310 the answer was cut" in static.text


def test_more_kinds_than_fit_are_counted() -> None:
    many = Counter({f"kind {at}": 10 - at for at in range(9)})
    card = Card.of(live_run(metrics={"failures": many}))
    assert len(card.kinds) == 6
    assert card.other_kinds == "3 more kinds 9"


def test_while_the_end_of_a_stream_is_unknown_there_is_no_share_and_no_time_left() -> None:
    run, pace, _ = samples()["a stream, end unknown"]
    shown = page(run, pace, live=True)
    assert "5,904 rows so far" in shown.text
    assert "to come" not in shown.text
    assert "1 min 36 s so far" in shown.text
    assert "at the end" not in shown.text
    (bar,) = [at for _, at in shown.elements if at.get("role") == "progressbar"]
    assert "aria-valuenow" not in bar
    assert all(count.share == 0 for count in Card.of(run).counts)
    run.state = "stopped"
    assert "5,904 rows, before the end of the source" in page(run, pace).text


def test_the_bar_is_a_progress_bar_with_its_value_in_words() -> None:
    (bar,) = [
        at for _, at in page(live_run(), live=True).elements if at.get("role") == "progressbar"
    ]
    assert (bar["aria-valuenow"], bar["aria-valuemax"]) == ("5904", "10000")
    assert (bar["aria-valuetext"] or "").startswith("5,904 of 10,000 rows, 4,604 answered")


def test_a_run_that_writes_to_a_file_names_it() -> None:
    class Wanted:
        class options:  # noqa: N801 - as a pipeline has them
            to = "<out>.parquet"

    run = done_run()
    run.pipeline = Wanted  # type: ignore[attr-defined]
    assert "written to <out>.parquet" in page(run).text
    assert "written to <out>.parquet" in plain(Card.of(run))
    run.state = "running"
    assert "goes to <out>.parquet" in page(run, live=True).text


def test_trends_of_rate_and_spending_are_drawn_live() -> None:
    pace = Throughput(61.4, TREND, SPENDING, TREND, SPENDING)
    shown = page(live_run(), pace, live=True)
    labels = [at.get("aria-label") for tag, at in shown.elements if tag == "svg"]
    assert labels == ["rows/s in the last 2 minutes", "USD a minute in the last 2 minutes"]
    assert "<svg" not in render(Card.of(live_run(), Throughput(61.4, (0.0, 0.0, 0.0))), live=True)


def test_what_will_pass_the_budget_says_so_and_the_meter_shows_how_far() -> None:
    run, pace, _ = samples()["over the budget at the end"]
    assert "$0.57 to $0.60 at the end, more than that" in page(run, pace, live=True).text
    cost = Card.of(run, pace).figures[0]
    assert (cost.meter, cost.ahead) == (78.2, 100.0)


def test_only_what_may_pass_the_budget_is_said_to_do_so_perhaps() -> None:
    run = live_run(counts={"max_budget": Decimal("0.59")})
    assert "$0.57 to $0.60 at the end, perhaps more than that" in page(run, live=True).text


def test_the_range_at_the_end_narrows_to_what_it_costs_and_is_no_range_then() -> None:
    wide = live_run(metrics={"paid": 50, "paid_cost": Decimal("0.0033"), "paid_squares": 4e-7})
    assert "$0.48 to $0.69 at the end" in page(wide, live=True).text
    last = live_run(counts={"total_rows": 5905})
    assert "about $0.31 at the end" in page(last, live=True).text
    assert "at the end" not in page(live_run(counts={"total_rows": 5904}), live=True).text


def test_an_estimate_of_too_few_requests_never_says_that_nothing_is_to_come() -> None:
    """It was scaled from a sample of the rows."""
    few = CostEstimate(Decimal(1), 0, 0, 0, 10_000, requests=4000)
    assert "$0.41 to $0.43 at the end" in page(live_run(estimate=few), live=True).text
    half = CostEstimate(Decimal(1), 0, 0, 0, 10_000, requests=7000)
    assert "$0.49 to $0.51 at the end" in page(live_run(estimate=half), live=True).text


def test_before_there_is_a_range_the_cost_has_its_estimate_beside_it() -> None:
    nothing = {"paid": 0, "paid_cost": Decimal(0), "paid_squares": 0.0}
    run = live_run(estimate=ESTIMATE, metrics=nothing)
    assert "$0.3127 of $2.00 budget · estimate $0.54" in page(run, live=True).text


def test_a_cache_that_has_only_cost_is_told_and_what_saved_nothing_is_not() -> None:
    metrics = {"saved_by_cache": Decimal("-0.02"), "saved_by_batches": Decimal("0.25")}
    text = page(live_run(metrics=metrics), live=True).text
    assert "saved $0.38: $0.25 batches · $0.14 journal · $0.014 equal rows · −$0.02 caching" in text
    text = page(live_run(metrics=NOTHING_SAVED), live=True).text
    assert "saved" not in text
    only_cost = {**NOTHING_SAVED, "saved_by_cache": Decimal("-0.02")}
    assert "saved" not in page(live_run(metrics=only_cost), live=True).text


def test_waiting_for_a_batch_shows_no_bar_but_how_many_wait_and_for_how_long() -> None:
    run, pace, _ = samples()["waiting for a batch"]
    shown = page(run, pace, live=True)
    assert not [at for _, at in shown.elements if at.get("role") == "progressbar"]
    assert "0 of 10,000 rows · 10,000 waiting in batches" in shown.text
    assert "10,000 requests wait in batches 41 min 7 s since the start" in shown.text
    assert "waiting 41 min 7 s for 10,000 requests in 1 batch" in shown.text
    for never in ("left", "rows/s", "p50", "at once", "to come"):
        assert never not in shown.text
    assert "– " not in shown.text


def test_as_soon_as_batches_have_ended_the_bar_has_what_is_there() -> None:
    run = batch_run()
    run.context.processed_rows, run.context.metrics.in_flight = 4000, 6000
    shown = page(run, live=True)
    (bar,) = [at for _, at in shown.elements if at.get("role") == "progressbar"]
    assert bar["aria-valuenow"] == "4000"
    ended, pace, _ = samples()["done by batches"]
    text = page(ended, pace).text
    assert "$0.54 batches" in text
    assert "rows/s" not in text


def test_an_outage_has_its_word_and_the_state_stays_paused() -> None:
    run, pace, _ = samples()["paused by an outage"]
    shown = page(run, pace, live=True)
    assert "paused · outage" in shown.text
    assert shown.root["data-state"] == "paused"
    run.context.control.pause()
    assert "outage" not in page(run, pace, live=True).text


@pytest.mark.parametrize(
    ("note", "words"),
    [("growing", "growing"), ("rate limited", "rate limited"), ("", "as asked for"),
     ("enough", "more would not help"), ("held by latency", "held by latency")],
)  # fmt: skip
def test_the_concurrency_says_why_it_is_what_it_is(note: str, words: str) -> None:
    text = page(live_run(metrics={"concurrency_note": note}), live=True).text
    assert f"300 at once · {words}" in text


@pytest.mark.parametrize("name", samples())
def test_no_two_dollars_become_a_formula(name: str) -> None:
    run, pace, live = samples()[name]
    source = render(Card.of(run, pace), live)
    inner = source.split(">", 1)[1].strip()
    assert inner.startswith('<div class="tex2jax_ignore mathjax_ignore')
