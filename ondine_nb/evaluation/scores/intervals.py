"""95 % confidence intervals, from the weights of rows and what each row adds to a figure.

`WeightedRows` has one weight for each labelled row; equal weights are the usual case, others come
of rows that were drawn by unequal chances (Hájek's estimator: each row counts by the inverse of its
chance, and the weights' sum stands for the number of rows; Särndal, Swensson, Wretman, "Model
Assisted Survey Sampling", 1992). A figure that is no plain mean is linearised: `variance`
takes each row's influence on it (the delta method; Binder, "On the variances of asymptotically
normal estimators from complex surveys", Int. Stat. Rev. 51, 1983).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Interval", "WeightedRows", "around", "student", "wilson"]

Interval = tuple[float, float]
Z = 1.959963984540054  # of the normal distribution: 95 % lie within


def wilson(share: float, n: float) -> Interval:
    """Wilson's score interval of a share that was seen in `n` rows.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
    `n` may be an effective size. It keeps within 0 and 1, and has a width where all rows are alike.
    """
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def around(value: float, variance: float, factor: float = Z) -> Interval:
    """`value`, and `factor` standard errors to either side (Wald)."""
    half = factor * math.sqrt(variance)
    return value - half, value + half


def student(freedom: int) -> float:
    """Student's t for 95 %, two-sided, with `freedom` (1 or more) degrees of freedom.

    Exact for 1 and 2; else the expansion in Abramowitz and Stegun, "Handbook of Mathematical
    Functions", 26.7.5, good to 0.1 % from 3 on.
    """
    if freedom == 1:
        return math.tan(math.pi * 0.475)
    if freedom == 2:
        return 0.95 * math.sqrt(2 / (1 - 0.95**2))
    z, v = Z, float(freedom)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / v**power for power, term in enumerate(terms, 1))


@dataclass(frozen=True)
class WeightedRows:
    """Labelled rows, one weight each; no weight is 0."""

    weights: Sequence[float]

    @property
    def n(self) -> int:
        """How many rows there are."""
        return len(self.weights)

    @cached_property
    def total(self) -> float:
        """The sum of the weights."""
        return math.fsum(self.weights)

    @cached_property
    def size(self) -> float:
        """The effective number of rows: what as many of equal weight would tell.

        Kish, "Survey Sampling", 1965: the square of the sum by the sum of the squares.
        """
        return self.total**2 / math.fsum(weight**2 for weight in self.weights)

    def mean(self, values: Sequence[float]) -> float:
        """The weighted mean of a value for each row (Hájek)."""
        return math.fsum(map(_times, self.weights, values)) / self.total

    def variance(self, influences: Sequence[float]) -> float:
        """The variance of a figure, by what each row adds to it (influences have the mean 0)."""
        squares = (each**2 for each in map(_times, self.weights, influences))
        return math.fsum(squares) / self.total**2

    def share(self, value: float, influences: Sequence[float], items: float = 1.0) -> Interval:
        """The interval of a figure between 0 and 1: Wilson's, with an effective number of rows.

        It is the number by which a share would have this variance, at most Kish's (Dean, Pagano,
        "Evaluating confidence interval methods for binomial proportions in clustered surveys",
        J. Surv. Stat. Methodol. 3, 2015); of a share of what rows hold several of, that many times
        `items`, their mean. Of a plain share of rows of equal weight, it is Wilson's own.
        """
        variance = self.variance(influences)
        size = self.size
        if variance > 1e-15 and 0 < value < 1:
            size = min(size * max(1.0, items), value * (1 - value) / variance)
        return wilson(value, size)


def _times(one: float, other: float) -> float:
    return one * other
