"""The card of a dry run: what a run would send and cost, its first prompts, the types read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ...evaluation import Examples
from ...models import CostEstimate
from ...pipeline import Tally
from ..ui import clean, css, display_bundle, lines, template

__all__ = ["dry_run_html", "dry_run_text", "show_dry_run"]

MOST = 4_000  # characters of a prompt


@dataclass(frozen=True, slots=True)
class DryRun:
    """What is told, as texts: `cost` is what is likely, `between` its bounds ("" where unknown).

    `types` are (column, dtype as read), `prompts` the first ones, `examples` what stands before the
    first one, `unit` what is counted: rows, or groups of them.
    """

    name: str
    model: str
    rows: int
    spared: tuple[str, ...]
    requests: int
    tokens: int
    confidence: str
    cost: str
    between: str
    types: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    prompts: tuple[str, ...]
    examples: str = ""
    unit: str = "rows"

    @classmethod
    def of(cls, pipeline: Any, tally: Tally, estimate: CostEstimate) -> DryRun:
        """What rendering all prompts and the estimate have shown."""
        counts = {
            "from the journal": tally.from_journal,
            "duplicates": tally.duplicates,
            "skipped": tally.skipped,
        }
        if tally.too_long:
            counts["too long"] = tally.too_long
        likely, between = _cost(estimate)
        parted = [("", it) for it in tally.first_prompts]
        if pipeline.examples is not None:
            parted = list(map(Examples.parted, tally.first_prompts))
        return cls(
            name=clean(pipeline.name),
            model=clean(pipeline.provider.model),
            rows=tally.rows,
            spared=tuple(f"{rows:,} {word}" for word, rows in counts.items()),
            requests=tally.requests,
            tokens=estimate.input_tokens,
            confidence=estimate.confidence,
            cost=likely,
            between=between,
            types=tuple(_types(pipeline)),
            notes=tuple(clean(note, 400) for note in estimate.notes),
            prompts=tuple(lines(prompt, MOST) for _, prompt in parted),
            examples=lines(parted[0][0], MOST) if parted else "",
            unit="rows" if pipeline.groups is None else "groups",
        )


def show_dry_run(pipeline: Any, tally: Tally, estimate: CostEstimate) -> None:
    """Display the estimate; nothing was sent that costs anything."""
    known = DryRun.of(pipeline, tally, estimate)
    bundle = {"text/plain": dry_run_text(known), "text/html": dry_run_html(known)}
    display_bundle(bundle, None, update=False)


def dry_run_text(known: DryRun) -> str:
    """The facts line by line, then the first prompts."""
    facts = {
        known.unit: f"{known.rows:,} ({', '.join(known.spared)})",
        "requests": f"{known.requests:,}",
        "input tokens": f"about {known.tokens:,} ({known.confidence})",
        "cost": " ".join(filter(None, [known.cost, known.between])),
        "types read": ", ".join(f"{name}: {dtype}" for name, dtype in known.types),
    }
    told = [f"Dry run of {known.name} on {known.model}: nothing was sent."]
    told += [f"{name}: {value}" for name, value in facts.items()]
    told += [*known.notes, ""]
    if known.examples:
        told += ["Before the first prompt:", known.examples, ""]
    for number, prompt in enumerate(known.prompts, 1):
        told += [f"Prompt {number}:", prompt, ""]
    return "\n".join(told).rstrip()


def dry_run_html(known: DryRun) -> str:
    """The same as a card."""
    html: str = template("card/dry_run.html").render(run=known, css=_sheet())
    return html.strip()  # every other line may be one of a prompt


def _sheet() -> str:
    """The sheet with the theme for this card alone: it has no state, so it is no `.ondine-run`."""
    return re.sub(r":is\(\.ondine-run[^{]*\{", ".ondine-dry-run {", css("card/dry_run.css"))


def _types(pipeline: Any) -> list[tuple[str, str]]:
    """The dtypes of the columns that the prompt names, as they were read."""
    native = pipeline.source.empty().native
    named = (name for name in pipeline.template.columns if name in native)
    return [(clean(name, 40), clean(native[name].dtype, 80)) for name in named]


def _cost(estimate: CostEstimate) -> tuple[str, str]:
    if estimate.total_cost is None or estimate.low is None or estimate.high is None:
        return "unknown:", "the model's price is not known (--price-in, --price-out)"
    low, likely, high = (_usd(x) for x in (estimate.low, estimate.total_cost, estimate.high))
    return f"about {likely},", f"from {low} to the ceiling of {high}"


def _usd(amount: Decimal) -> str:
    return f"${amount:.4f}" if amount < 1 else f"${amount:,.2f}"
