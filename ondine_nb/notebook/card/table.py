"""The card's table: a run's last rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ...orchestration import RowSample, Sample
from ..ui import MISSING, clean

__all__ = ["Table", "last_rows"]

MAX_INPUTS, MAX_OUTPUTS = 4, 6  # columns
STEPS = (5, 10, 18)  # characters of a narrow column
SHARED = 150  # pixels that a wide column has at least


@dataclass(frozen=True, slots=True)
class Table:
    """The last rows: `heads` as (text, kind, width), `rows` as (text, kind); kinds `pos in new`.

    Widths are pixels, 0 for a column that shares what is left; `width` is the least of the whole.
    """

    heads: tuple[tuple[str, str, int], ...]
    rows: tuple[tuple[tuple[str, str], ...], ...]
    width: int


def last_rows(
    recent: Iterable[Sample | RowSample],
    columns: Sequence[str],
    label_of: Callable[[int], str] = lambda _: "",
) -> Table | None:
    """The last rows, the newest first; a frame with many columns shows the first few.

    Where `label_of` a position gives the row's index, that stands beside the position.
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
        ((f"{sample.position:,}", "pos"), *[(label, "pos")] * index, *_cells(sample, shown))
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


def _cells(sample: Sample | RowSample, shown: list[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    for kind, name in shown:
        values = sample.outputs if kind == "new" else sample.inputs
        yield clean((values or {}).get(name)) or MISSING, kind


def _width(texts: Sequence[str]) -> int:
    """Width by the longest text, in few steps, so that columns don't jump at every redraw."""
    longest = max(map(len, texts))
    return next((16 + 8 * step for step in STEPS if longest <= step), 0)
