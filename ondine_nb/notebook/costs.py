"""A run's money as figures: what it costs, will have cost, was thought to cost, and has saved.

Everything here is pure.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from ..estimation import projected
from .facts import Figure, RunLike, cost_of
from .html.texts import money

__all__ = ["cost_figure", "estimate_figures", "possibly_billed", "saved_figures", "savings_line"]

Range = tuple[Decimal, Decimal]


def cost_figure(run: RunLike) -> Figure:
    """USD until now, against the budget where there is one, and what it will be at the end."""
    cost, budget = cost_of(run), run.context.max_budget
    if cost is None:
        return Figure("price unknown", "see --price-in", tone="word")
    ahead = at_the_end(run)
    parts = [] if budget is None else [f"of {money(budget)} budget"]
    parts.append(_expected(run, ahead, budget))
    caption = " · ".join(part for part in parts if part) or "cost"
    high = ahead[1] if ahead else None
    return Figure(money(cost), caption, meter=_share(cost, budget), ahead=_share(high, budget, 0))


def at_the_end(run: RunLike) -> Range | None:
    """The least and the most USD at the end, as far as it can be told while the run goes on."""
    context = run.context
    left = context.total_rows - context.done_rows
    known = run.state == "running" and context.gauges.paid_cost and not context.gauges.open_ended
    if left <= 0 or not known:
        return None
    return projected(context, _requests(run, left))


def estimate_figures(run: RunLike) -> list[Figure]:
    """What was expected, to stand beside what it has cost, once the run is done."""
    estimate = run.estimate
    paid = run.context.usage.total_tokens and cost_of(run) is not None
    if estimate is None or estimate.total_cost is None or run.state != "done" or not paid:
        return []
    bounds = ""
    if estimate.low is not None and estimate.high is not None:
        bounds = _between(estimate.low, estimate.high)
    likely = _usd(estimate.total_cost)
    single = bounds in ("", likely)
    return [Figure(likely, "was the estimate" if single else f"estimate was {bounds}")]


def possibly_billed(run: RunLike) -> list[Figure]:
    """What may have been billed without an answer having come; no figure where nothing was."""
    amount = run.context.gauges.possibly_billed
    return [Figure(money(amount), "possibly billed · answers lost on the way")] if amount else []


def saved_figures(run: RunLike) -> list[Figure]:
    """What has not been paid, by what saved it: in money where the price is known."""
    if causes := _causes(run):
        return [Figure(_usd(run.context.gauges.savings.total), f"saved · {' · '.join(causes)}")]
    same = run.context.gauges.duplicates
    return [Figure(f"{same:,}", "equal prompts not sent again")] if same else []


def savings_line(run: RunLike) -> str:
    """The same in one line; "" as long as nothing is saved."""
    causes = _causes(run)
    return f"saved {_usd(run.context.gauges.savings.total)}: {' · '.join(causes)}" if causes else ""


# --- parts ---------------------------------------------------------------------------------------


def _requests(run: RunLike, left: int) -> int | None:
    """How many requests the whole run will send, by what the estimate saw of the rows.

    It is scaled from a sample: it may not say that nothing is left while rows are.
    """
    estimate = run.estimate
    if estimate is None or not estimate.requests or not estimate.rows:
        return None
    paid = run.context.gauges.paid
    share = math.ceil(left * estimate.requests / estimate.rows)
    return paid + max(estimate.requests - paid, min(left, share))


def _expected(run: RunLike, ahead: Range | None, budget: Decimal | None) -> str:
    """In words: the range at the end, or before there is one the estimate."""
    estimate = run.estimate
    if ahead is not None:
        between = _between(*ahead)
        return f"{between if ' to ' in between else f'about {between}'} at the end" + _beyond(
            ahead, budget
        )
    if estimate is None or not estimate.total_cost or run.state != "running":
        return ""
    return f"estimate {_usd(estimate.total_cost)}"


def _beyond(ahead: Range, budget: Decimal | None) -> str:
    low, high = ahead
    if budget is None or high <= budget:
        return ""
    return ", more than that" if low > budget else ", perhaps more than that"


def _between(low: Decimal, high: Decimal) -> str:
    low_text, high_text = _usd(low), _usd(high)
    return low_text if low_text == high_text else f"{low_text} to {high_text}"


def _usd(amount: Decimal) -> str:
    """An amount that is only roughly known: cents, or two digits of what is smaller."""
    return money(amount, 2)


def _share(amount: Decimal | None, budget: Decimal | None, unknown: Any = None) -> Any:
    """Percent of the budget, 100 at most; `unknown` where there is none."""
    if amount is None or budget is None:
        return unknown
    return min(100.0, round(float(amount / budget * 100), 1)) if budget > 0 else 100.0


def _causes(run: RunLike) -> list[str]:
    """`$0.15 journal`, …, the greatest first; nothing where it is nothing, or can't be known."""
    saved = run.context.gauges.savings
    if saved.total <= 0 or cost_of(run) is None:
        return []
    amounts = {
        "journal": saved.journal,
        "equal rows": saved.duplicates,
        "caching": saved.caching,
        "batches": saved.batches,
    }
    ordered = sorted(amounts.items(), key=lambda it: -it[1])
    return [f"{_signed(amount)} {name}" for name, amount in ordered if amount]


def _signed(amount: Decimal) -> str:
    """A cache that was written and hardly read costs more than it saves."""
    return _usd(amount) if amount > 0 else f"−{_usd(-amount)}"
