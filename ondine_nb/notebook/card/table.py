"""The card's tables: a run's last rows, and some of its answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias

from ...data import cell_name
from ...orchestration import RowSample, Sample
from ...prompts import as_text
from ..ui import MISSING, Shown, clean

__all__ = ["Table", "last_rows", "table_of"]

MAX_INPUTS, MAX_OUTPUTS = 4, 6  # columns
STEPS = (5, 10, 18)  # characters of a narrow column
SHARED, NARROW = 150, 100  # pixels that a wide column has at least
PICTURE, MOST_PICTURES = 56, 3  # pixels of a small picture, and how many stand side by side
Pictured: TypeAlias = Mapping[tuple[int, int], Sequence[Shown]]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows: `heads` as (text, kind, width), `rows` as (text, kind).

    Kinds are `pos in new`, and for some of them one more word: `more` (an input that gives way
    where it is narrow), `num` (a number), `yes`, `no`.
    Widths are pixels, 0 for a column that shares what is left; `width` is the least of the whole.
    `pictures` stand in the place of the text of some cells, by row and column.
    """

    heads: tuple[tuple[str, str, int], ...]
    rows: tuple[tuple[tuple[str, str], ...], ...]
    width: int
    pictures: Pictured = field(default_factory=dict)

    @property
    def narrow(self) -> int:
        """The least width where only the first input is shown."""
        return sum(width or NARROW for _, kind, width in self.heads if "more" not in kind.split())


def last_rows(
    recent: Iterable[Sample | RowSample],
    columns: Sequence[str],
    label_of: Callable[[int], str] = lambda _: "",
    media: Collection[str] = (),
) -> Table | None:
    """The last rows, the newest first; a frame with many columns shows the first few.

    Where `label_of` a position gives the row's index, that stands beside the position. Cells of
    `media` columns are named.
    """
    samples = list(recent)[::-1]
    if not samples:
        return None
    inputs = dict.fromkeys(name for sample in samples for name in sample.inputs)
    shown = [("in", name) for name in list(inputs)[:MAX_INPUTS]]
    shown += [("new", name) for name in tuple(columns)[:MAX_OUTPUTS]]
    labels = [label_of(sample.position) for sample in samples]
    index = any(labels)
    rows = [
        ((f"{sample.position:,}", "pos"), *[(label, "pos")] * index, *_cells(sample, shown, media))
        for sample, label in zip(samples, labels, strict=True)
    ]
    names = [
        ("row", "pos"),
        *[("index", "pos")] * index,
        *((clean(name, 40), kind) for kind, name in shown),
    ]
    widths = [_width([text for text, _ in column]) for column in zip(names, *rows, strict=True)]
    heads = tuple((*name, width) for name, width in zip(names, widths, strict=True))
    return Table(heads, tuple(rows), sum(width or SHARED for width in widths))


def table_of(
    heads: Sequence[tuple[str, str]],
    rows: Sequence[Sequence[Any]],
    pictures: Pictured | None = None,
) -> Table:
    """A table of `heads` (text, kind) over rows of values, each column as its values want it."""
    pictures = pictures or {}
    columns = list(zip(*rows, strict=True))
    kinds = [_kind(kind, column) for (_, kind), column in zip(heads, columns, strict=True)]
    lines = tuple(tuple(map(_cell, row, kinds)) for row in rows)
    texts = [[head, *(line[at][0] for line in lines)] for at, (head, _) in enumerate(heads)]
    widths = list(map(_width, texts))
    for (_, at), shown in pictures.items():
        wide = 16 + PICTURE * max(1, min(MOST_PICTURES, len(shown)))
        widths[at] = max(wide, widths[at] if (0, at) not in pictures else wide)
    if all(widths):  # some column has to take what is left
        inputs = [at for at, (_, kind) in enumerate(heads) if kind.startswith("in")]
        widths[(inputs or [len(heads) - 1])[-1]] = 0
    named = [text for text, _ in heads]
    titles = tuple(zip(named, kinds, widths, strict=True))
    return Table(titles, lines, sum(width or SHARED for width in widths), pictures)


def _kind(kind: str, values: Sequence[Any]) -> str:
    present = [value for value in values if value is not None]
    numbers = present and {type(value) for value in present} <= {int, float, Decimal}
    return f"{kind} num" if numbers else kind


def _cell(value: Any, kind: str) -> tuple[str, str]:
    if isinstance(value, bool):
        return ("✓ yes", f"{kind} yes") if value else ("– no", f"{kind} no")
    if isinstance(value, float):
        shown = f"{value:,.0f}" if 1e6 <= abs(value) < 1e15 else f"{value:.6g}"
        return MISSING if value != value else shown, kind
    if isinstance(value, list):
        return clean(" · ".join(map(as_text, value))) or MISSING, kind
    return clean(value) or MISSING, kind


def _cells(
    sample: Sample | RowSample, shown: list[tuple[str, str]], media: Collection[str]
) -> Iterable[tuple[str, str]]:
    for kind, name in shown:
        values = sample.outputs if kind == "new" else sample.inputs
        value = (values or {}).get(name)
        named = cell_name(value) if kind == "in" and name in media else value
        yield clean(named) or MISSING, kind


def _width(texts: Sequence[str]) -> int:
    """Width by the longest text, in few steps, so that columns don't jump at every redraw."""
    longest = max(map(len, texts))
    return next((16 + 8 * step for step in STEPS if longest <= step), 0)
