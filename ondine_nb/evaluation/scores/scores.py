"""Scores: how right the answers of a field are, by the labels of some rows, and how sure that is.

Answers are compared in one of three ways, by the field's kind: as classes (text, choices, truth
values, dates), as numbers, and as sets of items (lists). Every figure has a 95 % interval, in
`Scores.intervals`:

    accuracy            Wilson's score interval
    precision, recall   Wilson's; of items, the delta method's variance in Wilson's formula
    macro_f1, f1        the delta method's variance (Takahashi, Yamamoto, Kuchiba, Koyama,
                        "Confidence interval for micro-averaged F1 and macro-averaged F1 scores",
                        Applied Intelligence 52, 2022) in Wilson's formula, so that it has a width
                        where every row was right
    kappa               the large-sample standard error of Fleiss, Cohen, Everitt, "Large sample
                        standard errors of kappa and weighted kappa", Psychol. Bull. 72, 1969; where
                        every row was right, what Wilson's interval of the agreement leaves of it
    mae                 Student's t on the mean of the errors
    r2                  the delta method, with Student's t

Rows that were drawn by unequal chances have weights, and effective numbers of rows stand in for
the number of rows: see `intervals`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as with_default
from typing import Any

from ...prompts import Field
from ...text import as_text
from ..labels import json_value
from .intervals import Interval, WeightedRows, around, student
from .text import score_html, score_text

__all__ = [
    "ClassScore",
    "MatchScore",
    "Pair",
    "Scores",
    "ScoresByField",
    "class_of",
    "items_of",
    "score_pairs",
]

NO_VALUE = "(no value)"
NUMBERS = ("int", "float")
MOST_CLASSES = 500  # of which the matrix has every cell
MOST_ITEMS = 50  # of lists, with scores of their own
_OTHER = "\0"  # no item's text


@dataclass(frozen=True, slots=True)
class Pair:
    """What a labelled row ought to be, what the model answered, and how much the row counts."""

    truth: Any
    answer: Any
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How right the answers are of one class: `n` labelled rows are of it.

    `precision` is the share of right ones among the rows that the model gave it, `recall` that
    among the rows that are of it, `f1` their harmonic mean; None where there is no such row.
    `intervals` has 95 % for each that isn't None, by name.
    """

    n: int
    precision: float | None
    recall: float | None
    f1: float
    intervals: Mapping[str, Interval]


@dataclass(frozen=True, slots=True)
class MatchScore:
    """How many of `n` labelled rows are right, of those whose evidence matches alike.

    `accuracy` is the share whose answer is that of the label (for numbers: equal to it, for lists
    the same items), `interval` its 95 %.
    """

    n: int
    accuracy: float
    interval: Interval


@dataclass(frozen=True)
class Scores:
    """How right a field's answers are, by `n` labelled rows that have an answer.

    Classes: `accuracy`, `macro_f1`, `kappa` (Cohen's), `per_class` (a `ClassScore` by class) and
    `matrix` (`matrix[truth][answer]`, in rows). Numbers: `mae` (mean absolute error) and `r2`.
    Lists: `precision`, `recall` and `f1` of all items together, `per_class` by item, and `accuracy`
    as the share of rows whose items are exactly those of the label. What a field's kind hasn't is
    None. `intervals` has the 95 % interval of each by name; which they are says
    `ondine_nb.evaluation.scores`. `interval` is that of the accuracy, or for numbers of the mean
    absolute error.

    `scope` says in a line what the figures speak for, `unanswered` how many labelled rows had no
    answer (they don't count), `notes` what else to know. `rest` has scores of the rows that came
    before a reviewer by no known chance, by the name of their queue, where others were drawn: they
    speak for nothing but themselves. `by_match` tells for a field with evidence how right the
    labelled rows are by how their quotes match (a `MatchScore` for each word that there is).
    """

    field: str
    n: int
    accuracy: float | None = None
    macro_f1: float | None = None
    kappa: float | None = None
    mae: float | None = None
    r2: float | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    per_class: Mapping[str, ClassScore] = with_default(default_factory=dict)
    matrix: Mapping[str, Mapping[str, int]] = with_default(default_factory=dict)
    intervals: Mapping[str, Interval] = with_default(default_factory=dict)
    scope: str = ""
    unanswered: int = 0
    notes: tuple[str, ...] = ()
    rest: Mapping[str, Scores] = with_default(default_factory=dict)
    by_match: Mapping[str, MatchScore] = with_default(default_factory=dict)

    @property
    def interval(self) -> Interval | None:
        """The 95 % interval of the accuracy, or for numbers of the mean absolute error."""
        return self.intervals.get("accuracy", self.intervals.get("mae"))

    def __repr__(self) -> str:
        return score_text(self)

    def _repr_html_(self) -> str:
        return score_html(self)


class ScoresByField(dict[str, Scores]):
    """The scores of several fields, by name; shown below each other."""

    def __repr__(self) -> str:
        return "\n\n".join(map(score_text, self.values()))

    def _repr_html_(self) -> str:
        return "".join(map(score_html, self.values()))


def score_pairs(known: Field, pairs: Sequence[Pair], **told: Any) -> Scores:
    """The scores of `pairs` of a field; `told` are `scope`, `unanswered`, `notes` and `rest`.

    Without pairs the figures are None.
    """
    if not pairs:
        return Scores(known.name, 0, **told)
    kind = known.kind
    score = _numbers if kind in NUMBERS else _lists if kind.startswith("list[") else _classes
    return replace(score(known, pairs), **told)


def class_of(value: Any) -> str:
    """The class that a value is of, as shown; equal values have equal classes."""
    if value is None:
        return NO_VALUE
    return value.strip() if isinstance(value, str) else as_text(json_value(value))


# --- classes


def _classes(known: Field, pairs: Sequence[Pair]) -> Scores:
    cells = [(class_of(pair.truth), class_of(pair.answer)) for pair in pairs]
    names = _ordered(known, (name for cell in cells for name in cell))
    sample = WeightedRows([pair.weight for pair in pairs])
    right = [float(truth == answer) for truth, answer in cells]
    accuracy = sample.mean(right)
    intervals = {"accuracy": sample.share(accuracy, [each - accuracy for each in right])}
    table = _ConfusionMatrix(cells, sample)
    macro = sum(map(table.f1, names)) / len(names)
    intervals["macro_f1"] = sample.share(macro, table.macro_influences(len(names)))
    kappa = table.kappa(accuracy, intervals["accuracy"])
    if kappa is not None:
        intervals["kappa"] = kappa[1]
    return Scores(
        known.name,
        len(pairs),
        accuracy=accuracy,
        macro_f1=macro,
        kappa=None if kappa is None else kappa[0],
        per_class={name: table.class_score(name) for name in names},
        matrix=_matrix(cells, names),
        intervals=intervals,
    )


def _ordered(known: Field, found: Iterable[str]) -> list[str]:
    """The classes that occur: in the order of the choices, the others behind them by name."""
    there = set(found)
    chosen = [name for name in map(class_of, known.choices or ()) if name in there]
    return [*dict.fromkeys(chosen), *sorted(there - set(chosen))]


class _ConfusionMatrix:
    """The confusion matrix in shares of the sample's weight, and the rows of each class."""

    def __init__(self, cells: Sequence[tuple[str, str]], sample: WeightedRows) -> None:
        self.cells, self.sample = cells, sample
        self.truths: dict[str, float] = defaultdict(float)
        self.answers: dict[str, float] = defaultdict(float)
        self.right: dict[str, float] = defaultdict(float)
        self.of_truth: dict[str, list[int]] = defaultdict(list)
        self.of_answer: dict[str, list[int]] = defaultdict(list)
        total = sample.total
        for row, ((truth, answer), weight) in enumerate(zip(cells, sample.weights, strict=True)):
            self.truths[truth] += weight / total
            self.answers[answer] += weight / total
            self.right[truth] += weight / total * (truth == answer)
            self.of_truth[truth].append(row)
            self.of_answer[answer].append(row)

    def f1(self, name: str) -> float:
        return 2 * self.right[name] / self._both(name)

    def _both(self, name: str) -> float:
        return self.truths[name] + self.answers[name]

    def f1_influence(self, cell: tuple[str, str], only: str | None = None) -> float:
        """What a row of `cell` adds to the sum of the classes' F1, or to that of `only` one."""
        truth, answer = cell
        added = 2 / self._both(truth) if truth == answer and only in (None, truth) else 0.0
        named = (name for name in cell if only in (None, name))
        return added - sum(self.f1(name) / self._both(name) for name in named)

    def macro_influences(self, classes: int) -> list[float]:
        """What each row adds to the mean of the F1 of all classes."""
        by_cell = {cell: self.f1_influence(cell) / classes for cell in set(self.cells)}
        return [by_cell[cell] for cell in self.cells]

    def kappa(self, agreement: float, around_it: Interval) -> tuple[float, Interval] | None:
        """Cohen's kappa; None where labels and answers are all of one class."""
        chance = sum(share * self.answers.get(name, 0.0) for name, share in self.truths.items())
        if chance > 1 - 1e-12:
            return None
        kappa = (agreement - chance) / (1 - chance)

        def influence(cell: tuple[str, str]) -> float:
            truth, answer = cell
            of_agreement = float(truth == answer) - agreement
            of_chance = self.answers[truth] + self.truths[answer] - 2 * chance
            return of_agreement / (1 - chance) - of_chance * (1 - agreement) / (1 - chance) ** 2

        by_cell = {cell: influence(cell) for cell in set(self.cells)}
        variance = self.sample.variance([by_cell[cell] for cell in self.cells])
        if variance < 1e-15:
            low, high = ((end - chance) / (1 - chance) for end in around_it)
        else:
            low, high = around(kappa, variance)
        return kappa, (max(-1.0, low), min(1.0, high))

    def class_score(self, name: str) -> ClassScore:
        """One class against all others."""
        intervals: dict[str, Interval] = {}

        def share(figure: str, rows: list[int]) -> float | None:
            if not rows:
                return None
            own = WeightedRows([self.sample.weights[row] for row in rows])
            right = [float(self.cells[row] == (name, name)) for row in rows]
            value = own.mean(right)
            intervals[figure] = own.share(value, [each - value for each in right])
            return value

        truths, answers = self.of_truth.get(name, []), self.of_answer.get(name, [])
        precision, recall = share("precision", answers), share("recall", truths)
        f1 = self.f1(name)
        # By the rows that are of the class by either side, those by both twice, as F1 counts them.
        rows = sorted({*truths, *answers})
        own = WeightedRows([self.sample.weights[row] for row in rows])
        scale = own.total / self.sample.total
        influences = [scale * self.f1_influence(self.cells[row], name) for row in rows]
        intervals["f1"] = own.share(f1, influences, self._both(name) / scale)
        return ClassScore(len(truths), precision, recall, f1, intervals)


def _matrix(cells: Sequence[tuple[str, str]], names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Rows by label and answer; of very many classes only the cells that have any."""
    found: dict[str, dict[str, int]] = {name: {} for name in names}
    if len(names) <= MOST_CLASSES:
        found = {name: dict.fromkeys(names, 0) for name in names}
    for (truth, answer), count in Counter(cells).items():
        found[truth][answer] = count
    return found


# --- numbers


def _numbers(known: Field, pairs: Sequence[Pair]) -> Scores:
    both = [pair for pair in pairs if pair.truth is not None and pair.answer is not None]
    lacking = len(pairs) - len(both)
    notes = (f"{lacking:,} more have no number on one side: they don't count",) if lacking else ()
    if not both:
        return Scores(known.name, 0, notes=notes)
    sample = WeightedRows([pair.weight for pair in both])
    truths = [float(pair.truth) for pair in both]
    errors = [float(pair.answer) - truth for pair, truth in zip(both, truths, strict=True)]
    intervals: dict[str, Interval] = {}
    sizes = [abs(error) for error in errors]
    mae = sample.mean(sizes)
    if low_high := _student(sample, mae, [size - mae for size in sizes]):
        intervals["mae"] = max(0.0, low_high[0]), low_high[1]
    middle = sample.mean(truths)
    spreads = [(truth - middle) ** 2 for truth in truths]
    spread, missed = sample.mean(spreads), sample.mean([error**2 for error in errors])
    r2 = 1 - missed / spread if spread > 1e-100 else None
    if r2 is not None:
        influences = [
            (missed * each / spread - error**2) / spread
            for each, error in zip(spreads, errors, strict=True)
        ]
        if low_high := _student(sample, r2, influences):
            intervals["r2"] = low_high[0], min(1.0, low_high[1])
    return Scores(known.name, len(both), mae=mae, r2=r2, intervals=intervals, notes=notes)


def _student(sample: WeightedRows, value: float, influences: Sequence[float]) -> Interval | None:
    """`value` and its error to either side; None for a single row, which tells no spread."""
    if sample.n < 2:
        return None
    variance = sample.variance(influences) * sample.n / (sample.n - 1)
    return around(value, variance, student(sample.n - 1))


# --- lists


def _lists(known: Field, pairs: Sequence[Pair]) -> Scores:
    sample = WeightedRows([pair.weight for pair in pairs])
    sides = [(items_of(pair.truth), items_of(pair.answer)) for pair in pairs]
    intervals: dict[str, Interval] = {}

    def ratio(
        name: str, count: Callable[[frozenset[str], frozenset[str]], tuple[int, int]]
    ) -> float | None:
        """The right items of all rows by all items that could have been right."""
        counts = [count(truth, answer) for truth, answer in sides]
        per_row = sample.mean([float(every) for _, every in counts])
        if per_row == 0:
            return None
        value = sample.mean([float(right) for right, _ in counts]) / per_row
        influences = [(right - value * every) / per_row for right, every in counts]
        intervals[name] = sample.share(value, influences, per_row)
        return value

    exact = [float(truth == answer) for truth, answer in sides]
    accuracy = sample.mean(exact)
    intervals["accuracy"] = sample.share(accuracy, [each - accuracy for each in exact])
    return Scores(
        known.name,
        len(pairs),
        accuracy=accuracy,
        precision=ratio("precision", lambda truth, answer: (len(truth & answer), len(answer))),
        recall=ratio("recall", lambda truth, answer: (len(truth & answer), len(truth))),
        f1=ratio("f1", lambda t, a: (2 * len(t & a), len(t) + len(a))),
        per_class=_item_scores(sides, sample),
        intervals=intervals,
    )


def items_of(value: Any) -> frozenset[str]:
    """The classes of a list's items; of nothing, none."""
    return frozenset(map(class_of, value or ()))


def _item_scores(
    sides: Sequence[tuple[frozenset[str], frozenset[str]]], sample: WeightedRows
) -> dict[str, ClassScore]:
    """Each of the most frequent items as a class of its own against all others."""
    counts = Counter(item for truth, answer in sides for item in truth | answer)
    found = {}
    for item, _ in counts.most_common(MOST_ITEMS):
        cells = [
            (item if item in truth else _OTHER, item if item in answer else _OTHER)
            for truth, answer in sides
        ]
        found[item] = _ConfusionMatrix(cells, sample).class_score(item)
    return found
