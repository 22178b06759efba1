"""Forecasts cost (USD) and time of the whole run, by what is known so far."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from ...models import CostEstimate
from ...pipeline import by_answers, duration
from ...providers import ModelPrice
from ..ui import money, row_count, span
from .trials import Trial

__all__ = ["Experience", "Forecast", "forecast"]

_FEWEST = 3  # answers of a trial before they are worth more than a rule of thumb


@dataclass(frozen=True, slots=True)
class Experience:
    """What paid answers showed: their output tokens, and latencies in seconds."""

    output_tokens: tuple[int, ...] = ()
    latencies: tuple[float, ...] = ()

    @classmethod
    def of(cls, trials: Iterable[Trial | None]) -> Experience:
        """What the answers of `trials` have cost, those that were paid."""
        paid = [
            outcome
            for trial in trials
            if trial is not None
            for outcome in trial.outcomes
            if outcome.latency is not None and outcome.usage.output_tokens
        ]
        return cls(
            tuple(outcome.usage.output_tokens for outcome in paid),
            tuple(sorted(outcome.latency or 0.0 for outcome in paid)),
        )


@dataclass(frozen=True, slots=True)
class Forecast:
    """Rows, requests, USD (None: price unknown), seconds (None: unknown); `basis` says by what.

    Of a pack, each row counts as a request.
    """

    rows: int
    requests: int
    low: Decimal | None
    high: Decimal | None
    ceiling: Decimal | None
    seconds: tuple[float, float] | None
    basis: str
    budget: Decimal | None = None
    free: bool = False

    @property
    def headline(self) -> str:
        """`Whole run: 10,000 rows, $0.47 to $0.61, 2 to 4 min`."""
        parts = [row_count(self.rows), self._cost(), _spans(self.seconds)]
        return f"Whole run: {', '.join(part for part in parts if part)}"

    @property
    def details(self) -> str:
        """What it rests on, the ceiling, and what the budget has to say."""
        parts = []
        if 0 < self.requests < self.rows and not self.free:
            parts.append(f"{self.requests:,} to send, the rest from the journal, equal or empty")
        parts.append(self.basis)
        if self.ceiling and self.high is not None and self.ceiling > self.high:
            parts.append(f"never above {money(self.ceiling, 2)}")
        if self.budget is not None and self.low is not None and self.low > self.budget:
            parts.append(f"the budget of {money(self.budget)} ends it before the last row")
        return " · ".join(part for part in parts if part)

    def _cost(self) -> str:
        if self.free:
            return "$0"
        if self.low is None or self.high is None:
            return "price unknown"
        low, high = _usd(self.low), _usd(self.high)
        return low if low == high else f"{low} to {high}"


def forecast(
    estimate: CostEstimate,
    price: ModelPrice | None,
    experience: Experience,
    *,
    width: int,
    grows: bool,
    budget: Decimal | None = None,
    free: bool = False,
) -> Forecast:
    """`estimate` is of the whole run; `width` the most requests at once, `grows` if it's found."""
    requests = estimate.requests or 0
    asked = estimate.questions or requests
    low, high, basis = estimate.low, estimate.high, "; ".join(estimate.notes[:1])
    tokens = experience.output_tokens
    if free:
        basis = "the model on this machine costs nothing"
    elif not requests:
        basis = "nothing to send: every row is in the journal, or empty"
    elif price is not None and requests and len(tokens) >= _FEWEST:
        low, high = by_answers(estimate, price, tokens)
        counted = "counted" if estimate.confidence == "estimate" else "rough"
        basis = f"by the answers of {row_count(len(tokens))} tried, input tokens {counted}"
        high = min(high, estimate.high) if estimate.high is not None else high
    return Forecast(
        rows=estimate.rows,
        requests=asked,
        low=low,
        high=high,
        ceiling=estimate.high,
        seconds=duration(requests, experience.latencies, width, grows),
        basis=basis,
        budget=budget,
        free=free,
    )


def _usd(amount: Decimal) -> str:
    return money(amount, 2 if amount >= Decimal("0.1") else 4)


def _spans(seconds: tuple[float, float] | None) -> str:
    """`2 to 4 min`, `about 40 s`."""
    if seconds is None:
        return ""
    low, high = (_round(value) for value in seconds)
    if low == high:
        return f"about {span(low)}"
    if low >= 60 and high < 3600:
        return f"{round(low / 60)} to {math.ceil(high / 60)} min"
    if high < 60:
        return f"{low:g} to {high:g} s"
    return f"{span(low)} to {span(high)}"


def _round(seconds: float) -> float:
    """As coarse as it is known: whole seconds, 5 s from 20 on, 30 s from 2 min on."""
    step = 30 if seconds >= 120 else 5 if seconds >= 20 else 1
    return max(1, math.ceil(seconds / step) * step)
