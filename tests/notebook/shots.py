"""Draws every view with Chromium, to be looked at: `python -m tests.notebook.shots [FOLDER]`.

Every sample card, live and static, in all themes and widths, and a copy with all style stripped (as
GitHub shows it); some single cards; and then the live views in JupyterLab, light and dark, by the
tests that look at how they fit (`--no-lab` leaves these out). Prints each text whose contrast is
below 4.5:1.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ondine_nb.models import CostEstimate, Failure, Usage
from ondine_nb.notebook.card.answers import answers_of
from ondine_nb.notebook.card.card import Card, render
from ondine_nb.notebook.card.throughput import Throughput
from ondine_nb.notebook.ui.templates import css
from ondine_nb.orchestration import ExecutionContext, RunMetrics, Sample
from tests.chromium import launched

LIGHT = """--jp-layout-color1:white; --jp-layout-color2:#eee; --jp-ui-font-color1:rgba(0,0,0,.87);
 --jp-border-color2:#e0e0e0; --jp-brand-color1:#1976d2; --jp-error-color1:#d32f2f;
 --jp-success-color1:#388e3c; --jp-warn-color1:#f57c00; background:white"""
DARK = """--jp-layout-color1:#111; --jp-layout-color2:#424242; --jp-border-color2:#424242;
 --jp-ui-font-color1:rgba(255,255,255,.87); --jp-brand-color1:#2196f3; --jp-error-color1:#f44336;
 --jp-success-color1:#4caf50; --jp-warn-color1:#ff9800; background:#111"""
# name: (style of the body, what the system prefers); "alone" has no variables at all
THEMES = {
    "lab-light": (LIGHT, "light"),
    "lab-light-on-dark-system": (LIGHT, "dark"),
    "lab-dark": (DARK.replace("#111;", "#212121;"), "light"),
    "lab-dark-111": (DARK, "light"),
    "alone-light": ("", "light"),
    "alone-dark": ("background:#0d1117", "dark"),
}
BUTTON = '<button class="jupyter-button widget-button">{}</button>'


@dataclass(eq=False)
class FakeRun:
    """What the view reads of a run; tests change what they are about."""

    name: str = "labeled"
    source: str = "reviews"
    model: str = "claude-haiku-5-5"
    columns: tuple[str, ...] = ("sentiment", "score")
    context: ExecutionContext = field(default_factory=ExecutionContext)
    state: str = "running"
    error: BaseException | None = None
    priced: bool = True
    note: str = ""
    estimate: CostEstimate | None = None
    pipeline: Any = None
    interrupt_only: bool = False
    stops: int = 0

    def stop(self) -> None:
        self.stops += 1
        self.state = "stopping"


class PausableRun(FakeRun):
    def pause(self) -> None:
        self.state = "paused"

    def resume(self) -> None:
        self.state = "running"


def context(seconds: float, **fields: Any) -> ExecutionContext:
    """A context that ran for so many seconds; `metrics` takes a dict of metrics."""
    metrics = RunMetrics(**fields.pop("metrics", {}))
    start = datetime(2026, 1, 1)
    end = start + timedelta(seconds=seconds)
    return ExecutionContext(start_time=start, end_time=end, metrics=metrics, **fields)


REVIEWS = (
    Sample(5897, {"text": "<b>Great</b> value, would buy it again for my mother"},
           {"sentiment": "positive", "score": 0.95}),
    Sample(5899, {"text": "Does what it says.\nThe box was a bit dented. " + "And so on. " * 40},
           {"sentiment": "positive", "score": 0.71}),
    Sample(5903, {"text": "Broke on the second day, and nobody answers the phone."},
           {"sentiment": "negative", "score": 0.97}),
)  # fmt: skip
FAILURES = Counter({"refusal": 61, "schema not met": 31, "cut at max_tokens": 8})
LAST = Failure(5871, "parse", "SchemaNotMetError", "score: 'very good' is not a number", 3)
REFUSED = "the model refused to answer (stop_reason: refusal)"
FIRST = {
    "schema not met": [
        Failure(at, "parse", "SchemaNotMetError", f"score: '{said}' is not a number", 3)
        for at, said in (
            (17, "nine"),
            (203, "<b>high</b>"),
            (340, "7 of 10"),
            (341, "?"),
            (900, ""),
        )
    ],
    "refusal": [Failure(at, "invoke", "RefusalError", REFUSED, 1) for at in (4, 80, 81, 82, 977)],
    "cut at max_tokens": [
        Failure(3310, "invoke", "CutAnswerError", "the answer was cut (stop_reason: max_tokens)", 1)
    ],
}
USAGE = Usage(230_000, 92_000, 980_000)
ESTIMATE = CostEstimate(Decimal("0.54"), 0, 0, 0, 10_000, low=Decimal("0.47"), high=Decimal("0.61"))
SPENDING = tuple(float(x) / 300 for x in (20, 31, 36, 40, 41, 42, 55, 56, 57, 58, 57, 40, 46, 50))
TREND = (20.0, 31.0, 36, 40, 41, 42, 55, 56, 57, 58, 57.5, 40, 46, 50, 54, 56, 58, 59, 60, 60)


SAVED = {"saved": Decimal("0.1544"), "saved_by_duplicates": Decimal("0.0144"),
         "saved_by_cache": Decimal("0.04")}  # fmt: skip
NOTHING_SAVED = dict.fromkeys(SAVED, Decimal(0)) | {"duplicates": 0}


def live_run(**fields: Any) -> PausableRun:
    """A run in the middle of its way, as the picture in the design shows it."""
    metrics = {
        "in_flight": 300, "concurrency": 300, "concurrency_note": "held by rate limit",
        "latencies": deque([1.9] * 90 + [4.2] * 10), "recent": deque(REVIEWS, 3),
        "failures": FAILURES, "last_error": LAST, "first_failures": FIRST, "retries": 12,
        "paid": 4704, "paid_cost": Decimal("0.3127"), "paid_squares": 3.6e-5, **SAVED,
        **fields.pop("metrics", {}),
    }  # fmt: skip
    counts = {
        "total_rows": 10_000, "processed_rows": 5804, "journal_rows": 1200, "failed_rows": 100,
        "accumulated_cost": Decimal("0.3127"), "max_budget": Decimal(2), "usage": USAGE,
    }  # fmt: skip
    counts |= fields.pop("counts", {})
    return PausableRun(context=context(96, metrics=metrics, **counts), **fields)


def done_run(**fields: Any) -> FakeRun:
    """A run at its end, as the picture in the design shows it."""
    metrics = {
        "failures": FAILURES, "last_error": LAST, "first_failures": FIRST, "duplicates": 214,
        **SAVED, "latencies": deque([1.9] * 90 + [4.2] * 10),
        **fields.pop("metrics", {}),
    }  # fmt: skip
    counts = {
        "total_rows": 10_000, "processed_rows": 9900, "journal_rows": 1200, "failed_rows": 100,
        "accumulated_cost": Decimal("0.5391"), "max_budget": Decimal(2), "usage": USAGE,
    }  # fmt: skip
    counts |= fields.pop("counts", {})
    options: dict[str, Any] = {"state": "done", "estimate": ESTIMATE} | fields
    return FakeRun(context=context(161, metrics=metrics, **counts), **options)


BATCHES = SimpleNamespace(options=SimpleNamespace(batch=True, to=None))
NO_FAILURES: dict[str, Any] = {"failures": Counter(), "last_error": None, "first_failures": {}}
LOCAL = "SmolLM2-135M on this machine: small, free, often wrong; set ANTHROPIC_API_KEY for Claude"


def samples() -> dict[str, tuple[FakeRun, Throughput | None, bool]]:
    """Name to (run, pace, live)."""
    pace = Throughput(61.4, TREND, SPENDING, TREND, SPENDING)
    two = ("answer", "why")
    odd = Sample(12, {"name": "مرحبا بالعالم", "stars": 4, "note": None, "more": [1, {"a": "b"}]},
                 {"answer": "An answer in plain words. " * 9, "why": float("nan")})  # fmt: skip
    cold = {"in_flight": 8, "concurrency": 8, "concurrency_note": "starting"}
    start = context(1.2, total_rows=10_000, metrics=cold)
    empty = {"total_rows": 0, "processed_rows": 0, "journal_rows": 0, "failed_rows": 0,
             "accumulated_cost": Decimal(0), "usage": Usage()}  # fmt: skip
    free = {"failed_rows": 0, "processed_rows": 10_000, "journal_rows": 10_000, "usage": Usage(),
            "accumulated_cost": Decimal(0)}  # fmt: skip
    local = {"total_rows": 40, "processed_rows": 31, "journal_rows": 0, "failed_rows": 0,
             "accumulated_cost": Decimal(0), "max_budget": None,
             "usage": Usage(4100, 310)}  # fmt: skip
    half = {"total_rows": 10_000, "processed_rows": 5804, "accumulated_cost": Decimal("1.9984")}
    tight = {"message": "out of budget: the next request may cost $0.0031, $0.0016 is left",
             "possibly_billed": Decimal("0.0042")}  # fmt: skip
    lost = {"processed_rows": 0, "journal_rows": 0, "failed_rows": 0, "usage": Usage(),
            "accumulated_cost": Decimal(0)}  # fmt: skip
    refused = RuntimeError("401: the key was refused. Set ANTHROPIC_API_KEY to a valid key")
    return {
        "in the middle": (live_run(), pace, True),
        "just started": (PausableRun(context=start), None, True),
        "stopping, possibly billed": (
            live_run(state="stopping", metrics={"possibly_billed": Decimal("0.0042")}), None, True),
        "one button, plain answers, odd data": (
            FakeRun(columns=two, context=context(64, total_rows=20, processed_rows=13,
                    metrics={"recent": deque([odd])})), Throughput(0.05), True),
        "under %%time, unknown price": (
            live_run(interrupt_only=True, priced=False, name="a_rather_long_variable_name",
                     columns=("sentiment", "score", "topic", "language", "reason")), pace, True),
        "embedded model": (
            live_run(counts=local, model="embedded", note=LOCAL,
                     metrics={**NO_FAILURES, **NOTHING_SAVED, "paid_cost": Decimal(0), "retries": 0,
                             "concurrency": 2, "in_flight": 2, "concurrency_note": ""}),
            Throughput(1.3), True),
        "failed rows open": (live_run(), pace, True),
        "paused by an outage": (outage_run(), Throughput(None, TREND, SPENDING), True),
        "a stream, end unknown": (
            live_run(counts={"max_budget": None}, metrics={"open_ended": True}), pace, True),
        "over the budget at the end": (
            live_run(counts={"max_budget": Decimal("0.40")}), pace, True),
        "waiting for a batch": (batch_run(), pace, True),
        "done": (done_run(), pace, False),
        "done by batches": (
            done_run(pipeline=BATCHES, metrics={"saved_by_batches": Decimal("0.5391"),
                                               "latencies": deque()}), pace, False),
        "all from the journal": (
            done_run(counts=free, metrics={**NO_FAILURES, "duplicates": 0}), None, False),
        "out of budget": (done_run(state="stopped", counts=half, metrics=tight), None, False),
        "failed": (done_run(state="failed", error=refused, counts=lost,
                            metrics={**NO_FAILURES, **NOTHING_SAVED}),
                   None, False),
        "unknown price": (
            done_run(priced=False, metrics={**NOTHING_SAVED, "duplicates": 214}), None, False),
        "shown in mid-run": (live_run(), None, False),
        "no rows": (done_run(counts=empty, metrics={**NO_FAILURES, **NOTHING_SAVED}), None,
                    False),
    }  # fmt: skip


def batch_run() -> PausableRun:
    """Nothing is known but that 10,000 requests wait."""
    message = "waiting 41 min 7 s for 10,000 requests in 1 batch: answers come when it ends"
    counts = {"total_rows": 10_000, "max_budget": Decimal(2)}
    metrics = {"message": message, "in_flight": 10_000}
    return PausableRun(
        context=context(2467, metrics=metrics, **counts), pipeline=BATCHES, estimate=ESTIMATE
    )


def outage_run() -> PausableRun:
    message = "paused: the server answers nothing (overloaded)"
    until = time.monotonic() + 8
    run = live_run(state="paused", metrics={"message": message, "message_until": until})
    run.context.control.outage = True
    return run


CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const paint = (colors) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const c of colors) { canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const low = new Map();
  for (const el of document.querySelectorAll('.ondine-run *, .ondine-view button')) {
    const text = [...el.childNodes].filter(n => n.nodeType == 3).map(n => n.data.trim()).join('');
    if (!text || el.closest('style, title')) continue;
    const grounds = [];
    for (let up = el; up; up = up.parentElement)
      grounds.unshift(getComputedStyle(up).backgroundColor);
    const back = paint(['white', ...grounds]);
    const fore = paint(['white', ...grounds, getComputedStyle(el).color]);
    const [a, b] = [light(back), light(fore)].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) low.set(el.className, `${ratio.toFixed(2)} ${el.className}: ${text}`);
  }
  return [...low.values()];
}"""


def live_html(card: Card, opened: bool) -> str:
    """The card with its buttons, in the elements that ipywidgets makes for them."""
    pause = "Resume" if card.state == "paused" else "Pause"
    names = [] if card.interrupt_only else [pause, "Stop"][-card.buttons :]
    more = [f"{'Hide' if opened else 'Show'} failed rows"] if card.kinds and names else []
    top, under = ("".join(map(BUTTON.format, it)) for it in (names, more))
    below = f'<div class="o-more" style="display:flex">{under}</div>' if under else ""
    return (
        f'<div class="ondine-view"><style>{css()}</style>'
        f'<div class="ondine-buttons" style="display:flex">{top}</div>'
        '<div class="widget-html" style="display:flex"><div class="widget-html-content">'
        f"{render(card, True, opened)}</div></div>{below}</div>"
    )


def pages(theme: str) -> dict[str, str]:
    """File name to page, for one theme."""
    style = THEMES[theme][0]
    live: list[str] = []
    static: list[str] = []
    for name, (run, pace, is_live) in samples().items():
        card = Card.of(run, pace)
        html = live_html(card, name == "failed rows open") if is_live else render(card, live=False)
        (live if is_live else static).append(f"<h6>{name}</h6>{html}")
    head = "<style>h6{font:11px sans-serif;color:#888;margin:14px 0 4px}</style>"
    page = '<meta charset="utf-8">{}<body style="margin:8px 16px;{}">{}</body>'
    return {
        "live": page.format(head, style, "".join(live)),
        "static": page.format(head, style, "".join(static)),
    }


def stripped(html: str) -> str:
    """What a sanitizer leaves: no style sheets, no inline styles, no drawings, no classes."""
    html = re.sub(r"(?s)<(style|svg)\b.*?</\1>", "", html)
    return re.sub(r'\s(style|class)="[^"]*"', "", html)


def shoot(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with launched() as browser:
        for theme, (_, prefers) in THEMES.items():
            scheme: Any = prefers
            page = browser.new_page(color_scheme=scheme)
            for name, html in pages(theme).items():
                for width in (300, 480, 800, 1200):
                    page.set_viewport_size({"width": width, "height": 400})
                    page.set_content(html)
                    page.screenshot(path=folder / f"{name}-{theme}-{width}.png", full_page=True)
                for line in page.evaluate(CONTRAST):
                    print(f"{theme} {name}: contrast {line}")
                if theme == "alone-light":
                    page.set_viewport_size({"width": 800, "height": 400})
                    page.set_content(stripped(html))
                    page.screenshot(path=folder / f"{name}-stripped.png", full_page=True)


# Single cards, by the name of the sample.
SINGLE = {
    "card-live": "in the middle",
    "card-failed-rows": "failed rows open",
    "card-outage": "paused by an outage",
    "card-batch": "waiting for a batch",
}


def shoot_single(folder: Path) -> None:
    cards = {file: _single(name) for file, name in SINGLE.items()}
    cards["card-final"] = final_html()
    with launched() as browser:
        for theme in ("light", "dark"):
            style = THEMES[f"lab-{theme}"][0]
            page = browser.new_page(viewport={"width": 960, "height": 700})
            for file, html in cards.items():
                page.set_content(
                    f'<meta charset="utf-8"><body style="margin:0;{style}">'
                    f'<div id="it" style="padding:14px">{html}</div></body>'
                )
                page.locator("#it").screenshot(path=folder / f"{file}-{theme}.png")


def _single(name: str) -> str:
    run, pace, live = samples()[name]
    card = Card.of(run, pace)
    return live_html(card, "open" in name) if live else render(card, live=False)


def final_html() -> str:
    """The card of a run that is over, with its answers."""
    from .ended_runs import ended_run, reviews

    with tempfile.TemporaryDirectory() as folder:
        run: Any = ended_run(reviews(240), Path(folder, ".ondine"), failing=0.02)
        run.context.end_time = run.context.start_time + timedelta(seconds=41)
        run.context.max_budget, run.context.usage = Decimal("0.02"), Usage(36_000, 5_280)
        run.estimate = CostEstimate(
            Decimal("0.012"), 0, 0, 0, 240, low=Decimal("0.0086"), high=Decimal("0.0155")
        )
        run.context.metrics.failures = Counter({"refusal": 5, "schema not met": 2})
        card = Card.of(run, answers=answers_of(run))
        return render(replace(card, journal=""), live=False)


def shoot_in_lab(folder: Path) -> None:
    """The live views, with real widgets: by the browser tests whose names say that they fit."""
    words = ["-m", "pytest", "-q", "tests/browser", "-m", "browser", "-k", "fits"]
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, *words],
        check=True,
        cwd=root,
        env={**os.environ, "ONDINE_SHOTS": str(folder.absolute())},
    )


def main(words: list[str]) -> None:
    folder = Path(next((word for word in words if not word.startswith("-")), "screenshots"))
    shoot(folder)
    shoot_single(folder)
    if "--no-lab" not in words:
        shoot_in_lab(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
