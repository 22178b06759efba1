"""What `--dry-run` shows: rows, requests, tokens, a cost range with its ceiling, first prompts."""

from __future__ import annotations

import html
from decimal import Decimal
from typing import Any

from ..estimation import Tally
from ..models import CostEstimate

__all__ = ["plain", "show"]


def show(pipeline: Any, tally: Tally, estimate: CostEstimate) -> None:
    """Display the estimate; nothing was sent that costs anything."""
    from IPython.display import publish_display_data

    text = plain(pipeline, tally, estimate)
    publish_display_data(  # type: ignore[no-untyped-call]
        {"text/plain": text, "text/html": _as_html(pipeline, tally, estimate)}
    )


def plain(pipeline: Any, tally: Tally, estimate: CostEstimate) -> str:
    """The facts line by line, then the first prompts."""
    lines = [f"Dry run of {pipeline.name} on {pipeline.provider.model}: nothing was sent."]
    lines += [f"{name}: {value}" for name, value in _facts(tally, estimate)]
    lines += [*estimate.notes, ""]
    for number, prompt in enumerate(tally.first_prompts, 1):
        lines += [f"Prompt {number}:", prompt, ""]
    return "\n".join(lines).rstrip()


def _facts(tally: Tally, estimate: CostEstimate) -> list[tuple[str, str]]:
    spared = f"{tally.from_journal:,} from the journal, {tally.duplicates:,} duplicates, "
    return [
        ("rows", f"{tally.rows:,} ({spared}{tally.skipped:,} skipped)"),
        ("requests", f"{tally.requests:,}"),
        ("input tokens", f"about {estimate.input_tokens:,} ({estimate.confidence})"),
        ("cost", _cost(estimate)),
    ]


def _cost(estimate: CostEstimate) -> str:
    if estimate.total_cost is None or estimate.low is None or estimate.high is None:
        return "unknown: the model's price is not known (--price-in, --price-out)"
    low, likely, high = (_usd(x) for x in (estimate.low, estimate.total_cost, estimate.high))
    return f"about {likely}, from {low} to the ceiling of {high}"


def _usd(amount: Decimal) -> str:
    return f"${amount:.4f}" if amount < 1 else f"${amount:,.2f}"


def _as_html(pipeline: Any, tally: Tally, estimate: CostEstimate) -> str:
    head = html.escape(
        f"Dry run of {pipeline.name} on {pipeline.provider.model}: nothing was sent."
    )
    cells = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
        for name, value in _facts(tally, estimate)
    )
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in estimate.notes)
    prompts = "".join(
        f"<p>Prompt {number}</p>"
        f"<pre style='white-space:pre-wrap'>{html.escape(prompt[:4000])}</pre>"
        for number, prompt in enumerate(tally.first_prompts, 1)
    )
    return (
        f"<div class='ondine-dry-run tex2jax_ignore mathjax_ignore'><p><b>{head}</b></p>"
        f"<table>{cells}</table><ul>{notes}</ul>{prompts}</div>"
    )
