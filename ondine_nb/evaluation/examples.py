"""Few-shot examples: labelled rows that stand before a prompt, and never before their own.

Labels are split by a hash of their content: some may be shown as examples, the rest is for scores.
By `stratified` the same few stand before every prompt, each class in turn, so that a provider can
cache them. By `nearest` half of the labels may be shown, and before each prompt stand those of them
that are most like its row, by the character trigrams that both have (TF-IDF, cosine).

Near is measured on the texts of the columns that the prompt names, without case and doubled blanks.
Two that are equal, or alike by 90 of 100 (Indel similarity, `rapidfuzz.fuzz.ratio`), are the same
content: neither is shown before the other, and what was shown isn't scored. Measured on short
texts, that catches 96 % of copies with small changes, and 4 % of what is none.
"""

from __future__ import annotations

import hashlib
import json
import threading
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data import Frame, kind_of, wrap
from ..errors import ColumnError, ConfigurationError, OndineError, nearest
from ..prompts import Field, JinjaTemplate, Schema, Template
from .label_frame import day
from .labels import Label, LabelSet, json_value, key_text, label_sets
from .row_labels import RowLabels
from .scores import class_of
from .values import typed

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Example", "Examples", "examples_of"]

USUAL_SHOTS = 8
MOST_IN_REACH = 10_000  # labels that the nearest ones are looked for among
_ALIKE = 90.0
_MOST_STRATA = 20
_COMPARED = 500  # characters by which the order of the nearest is told
_MOST_LOOKED_UP = 50_000  # places of a row's trigrams: beyond it the commonest are passed over
_FEWEST_LOOKED_UP = 16  # trigrams
_DIMENSIONS = 1 << 18
_SURE = 512  # so many are each compared whether they are near; of more, the most similar ones
_LOOKED_AT = 64
_BEGIN = "Each example shows an input of the task that follows, and its right output.\n<examples>\n"
_END = "</examples>\n\n"

Cells = Sequence[Any]  # a row's values of the columns that the prompt names


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled row: `text` is what the prompt says of it alone, `answer` what the model ought to.

    `content` is what it is known by, `stratum` its class, `place` a hash of its content (0 to 1).
    """

    content: str
    text: str
    answer: str
    stratum: str
    place: float


class Examples:
    """The labelled rows that are shown before prompts: `shots` of them, "stratified" or "nearest".

    `pool` are those that may be shown, `scored` is how many labels are left for scores, and
    `left_out` why others can't be shown. `head` is what prompts begin with that have all of them
    ("" for the nearest, which differ from row to row). Safe to use from several threads.

    Raises `ConfigurationError` for more shots than there are labels to show.
    """

    def __init__(
        self,
        name: str,
        found: Sequence[Example],
        *,
        shots: int | None = None,
        by: str = "stratified",
        field: str = "",
        left_out: str = "",
    ) -> None:
        self.name = name
        self.by = by
        self.field = field
        self.left_out = left_out
        known = sorted(found, key=lambda each: (each.place, each.content))
        reach = [each for each in known if each.place < 0.5] if self.nearest else known
        self.shots: int = _fitting(shots, name, len(reach), len(known))
        self.pool: tuple[Example, ...] = tuple(
            reach[:MOST_IN_REACH] if self.nearest else _stratified(reach, self.shots)
        )
        self.scored: int = len(known) - len(self.pool)
        self.head: str = "" if self.nearest else _block(self.pool)
        self._contents = [each.content for each in self.pool]
        self._blocks: dict[tuple[int, ...], str] = {}
        self._trigrams: _Trigrams | None = None
        self._lock = threading.Lock()

    @property
    def nearest(self) -> bool:
        """Whether each row has its own examples."""
        return self.by == "nearest"

    @property
    def fingerprint(self) -> str:
        """What may be shown, and how, in 32 hex digits."""
        said = [[it.content, it.text, it.answer] for it in self.pool]
        text = json.dumps([self.by, self.shots, said], ensure_ascii=False)
        return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()

    @property
    def line(self) -> str:
        """What is shown, and what is left for scores, in a line."""
        labels = len(self.pool) + self.scored
        rest = f"{self.scored:,} of {labels:,} labels are left for scores"
        if self.nearest:
            what = f"the {self.shots:,} nearest of {len(self.pool):,} labels of {self.name!r}"
            where = "each prompt"
        else:
            per = f", each class of {self.field!r} in turn," if self.field else ""
            what, where = f"{self.shots:,} labels of {self.name!r}{per}", "every prompt"
        out = f"; {self.left_out}" if self.left_out else ""
        return f"examples: {what} stand before {where}; {rest}{out}"

    @property
    def size(self) -> int:
        """About how many bytes (UTF-8) stand before a prompt."""
        if not self.nearest:
            return len(self.head.encode("utf-8", "replace"))
        every = sum(len(_shown(each).encode("utf-8", "replace")) for each in self.pool)
        return len(_BEGIN + _END) + self.shots * every // len(self.pool)

    @staticmethod
    def parted(prompt: str) -> tuple[str, str]:
        """A prompt in two, for views: the examples ("" where there are none), and what is asked."""
        before, end, rest = prompt.partition(_END)
        shown = before.startswith(_BEGIN) and end
        return (before + end, rest) if shown else ("", prompt)

    # -- what stands before a prompt

    def before(self, rows: Sequence[Cells]) -> list[str]:
        """What stands before the prompt of each row, given by its values; takes a while."""
        return [self._before(_content(cells)) for cells in rows]

    def _before(self, content: str) -> str:
        if self.nearest:
            return _block([self.pool[at] for at in self._nearest_to(content)])
        near = [at for at, known in enumerate(self._contents) if _near(content, known)]
        return self._without(tuple(near)) if near else self.head

    def _without(self, near: tuple[int, ...]) -> str:
        if near not in self._blocks:
            self._blocks[near] = _block([it for at, it in enumerate(self.pool) if at not in near])
        return self._blocks[near]

    def _nearest_to(self, content: str) -> list[int]:
        """The most similar examples that are none of this content, the best one last."""
        found: list[int] = []
        for at in self._ranked(content):
            if not _near(content, self._contents[at]):
                found.append(at)
                if len(found) == self.shots:
                    break
        return found[::-1]

    def _ranked(self, content: str) -> Iterator[int]:
        with self._lock:
            if self._trigrams is None:
                self._trigrams = _Trigrams(self._contents)
        return self._trigrams.ranked(content)

    # -- what was shown

    def served(self, rows: Iterable[Cells]) -> list[bool]:
        """Whether each row, given by its values, has the content of an example, or nearly so."""
        known = set(self._contents)
        return [
            content in known
            or any(_near(content, self._contents[at]) for at in self._like(content))
            for content in map(_content, rows)
        ]

    def _like(self, content: str) -> Iterable[int]:
        """Those that are compared: all, or of very many the most similar ones."""
        if len(self.pool) <= _SURE:
            return range(len(self.pool))
        return list(_first(self._ranked(content), _LOOKED_AT))


def _first(found: Iterator[int], most: int) -> Iterator[int]:
    return (at for _, at in zip(range(most), found, strict=False))


def _fitting(shots: int | None, name: str, reach: int, labels: int) -> int:
    """How many are shown: those asked for, or the usual number, but half of the labels at most."""
    if not reach:
        raise ConfigurationError(
            f"--examples {name} has {labels:,} labels, and their split leaves all of them for "
            "scores: label more rows, or take --examples-by stratified"
        )
    if shots is None:
        return min(USUAL_SHOTS, reach, max(1, labels // 2))
    if shots > reach:
        which = f"{labels:,} labels" if reach == labels else f"{reach:,} of {labels:,} labels"
        rest = "" if reach == labels else " to show (the others are for scores)"
        raise ConfigurationError(
            f"--shots is {shots:,}, and {name} has {which}{rest}: give --shots {max(reach, 1):,} "
            "or fewer, or label more rows"
        )
    return shots


def _stratified(known: Sequence[Example], shots: int) -> list[Example]:
    """Each class in turn, in the order of their hashes; of near ones another is drawn first."""
    classes: dict[str, list[Example]] = defaultdict(list)
    for each in known:
        classes[each.stratum].append(each)
    turns = max((len(some) for some in classes.values()), default=0)
    in_turn = [some[turn] for turn in range(turns) for some in classes.values() if turn < len(some)]
    drawn: list[Example] = []
    spare: list[Example] = []
    for each in in_turn:
        if len(drawn) == shots:
            break
        repeats = any(_near(each.content, other.content) for other in drawn)
        (spare if repeats else drawn).append(each)
    drawn += spare[: shots - len(drawn)]
    return sorted(drawn, key=lambda each: (each.place, each.content))


def _block(examples: Sequence[Example]) -> str:
    """The text of some examples; "" of none."""
    return f"{_BEGIN}{''.join(map(_shown, examples))}{_END}" if examples else ""


def _shown(each: Example) -> str:
    return (
        f"<example>\n<input>\n{each.text}\n</input>\n"
        f"<output>\n{each.answer}\n</output>\n</example>\n"
    )


# --- what is near


def _content(cells: Cells) -> str:
    """What a row is known by: the texts of its cells, without case and doubled blanks."""
    text = "\n".join(map(key_text, cells))
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _near(one: str, other: str) -> bool:
    """Whether two contents are equal, or nearly so."""
    from rapidfuzz.fuzz import ratio

    return one == other or bool(ratio(one, other, score_cutoff=_ALIKE))


class _Trigrams:
    """Texts by their character trigrams, to find the most similar ones: TF-IDF, cosine.

    For each trigram (hashed) it has the texts that it is in, with its weight there.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        import numpy as np

        self._texts = len(texts)
        found = [_trigrams_of(text) for text in texts]
        within = np.zeros(_DIMENSIONS, np.int64)
        for ids, _ in found:
            within[ids] += 1
        self._rarity = np.log((1 + self._texts) / (1 + within)) + 1
        # In small steps: numpy puts such arrays together in one, and holds the loop up meanwhile.
        size = sum(len(ids) for ids, _ in found)
        grams, where = np.empty(size, np.int32), np.empty(size, np.int32)
        weight, end = np.empty(size, np.float32), 0
        for at, (ids, counts) in enumerate(found):
            start, end = end, end + len(ids)
            grams[start:end], where[start:end] = ids, at
            weight[start:end] = self._weights(ids, counts)
        order = np.argsort(grams, kind="stable")
        self._where, self._weight = where[order], weight[order]
        self._start = np.concatenate([[0], np.cumsum(within)])

    def _weights(self, ids: np.ndarray, counts: np.ndarray) -> np.ndarray:
        import numpy as np

        weights: np.ndarray = (1 + np.log(counts)) * self._rarity[ids]
        return weights / max(float(np.sqrt((weights**2).sum())), 1e-12)

    def ranked(self, text: str) -> Iterator[int]:
        """The texts, the most similar first; of equally similar ones in their order."""
        import numpy as np

        ids, weights = self._telling(*_trigrams_of(text))
        starts, sizes = self._start[ids], self._start[ids + 1] - self._start[ids]
        # Each trigram's stretch of `_where`, one behind the other.
        at = np.arange(sizes.sum()) + np.repeat(starts - np.cumsum(sizes) + sizes, sizes)
        alike = np.bincount(
            self._where[at],
            weights=self._weight[at] * np.repeat(weights, sizes),
            minlength=self._texts,
        )
        return _in_order(-alike.round(6))

    def _telling(self, ids: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The trigrams that are looked up, the rarest first, with their weights."""
        import numpy as np

        weights = self._weights(ids, counts)
        sizes = self._start[ids + 1] - self._start[ids]
        rarest = np.argsort(sizes, kind="stable")
        within = int(np.searchsorted(np.cumsum(sizes[rarest]), _MOST_LOOKED_UP, side="right"))
        kept = rarest[: max(within, _FEWEST_LOOKED_UP)]
        return ids[kept], weights[kept].astype(np.float32)


def _in_order(far: np.ndarray) -> Iterator[int]:
    """The places of `far`, the smallest first; mostly only the first few are wanted."""
    import numpy as np

    if len(far) > 4 * _LOOKED_AT:
        border = np.partition(far, _LOOKED_AT)[_LOOKED_AT]
        first = np.flatnonzero(far < border)
        yield from first[np.argsort(far[first], kind="stable")].tolist()
        rest = np.flatnonzero(far >= border)
        yield from rest[np.argsort(far[rest], kind="stable")].tolist()
    else:
        yield from np.argsort(far, kind="stable").tolist()


def _trigrams_of(text: str) -> tuple[np.ndarray, np.ndarray]:
    """The trigrams of a text, hashed, and how often each is in it."""
    import numpy as np

    raw = f" {text[:_COMPARED]} ".encode("utf-32-le", "replace")
    signs = np.frombuffer(raw, dtype=np.uint32).astype(np.uint64)
    mixed = (signs[:-2] * np.uint64(1_000_003) + signs[1:-1]) * np.uint64(999_983) + signs[2:]
    hashed = (mixed * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - 18)
    return np.unique(hashed.astype(np.int64), return_counts=True)


# --- labels as examples


def examples_of(
    given: Any,
    *,
    template: Template | JinjaTemplate,
    schema: Schema | None,
    column: str = "response",
    rows: Frame | None = None,
    folder: Path | str | None = None,
    shots: int | None = None,
    by: str = "stratified",
) -> Examples:
    """The examples in `given`: a DataFrame, or the name of a label set in a journal's `folder`.

    A frame has the columns that `template` names and one column for each field of `schema`, or
    without one the `column` of plain answers. `rows` is the frame that is asked: a label that is
    about a row of it has its cells from there. What is said twice of a content holds as said last.
    Raises `ConfigurationError` where nothing can be shown, or less than asked for.
    """
    fields = (Field(column, "str"),) if schema is None else schema.fields
    if isinstance(given, str):
        name, labelled = given, _of_labels(given, template.columns, fields, rows, folder)
    else:
        frame = given if isinstance(given, Frame) else _frame(given)
        name, labelled = frame.name, _of_frame(frame, template.columns, fields)
    reader = _Reader(template, schema, fields)
    for cells, said in labelled:
        reader.take(cells, said)
    if not reader.found:
        why = reader.left_out or "there is no row in it"
        raise ConfigurationError(f"--examples {name} has nothing to show: {why}. Label some rows")
    field = _told_apart(fields, [said for _, _, said in reader.found.values()])
    found = [
        Example(content, text, answer, class_of(said[field]) if field else "", _place(content))
        for content, (text, answer, said) in reader.found.items()
    ]
    return Examples(name, found, shots=shots, by=by, field=field, left_out=reader.left_out)


_Said = Mapping[str, Any]  # the value of each field that somebody has said


class _Reader:
    """Takes labelled rows; `found` has text, answer and values of each content, once."""

    def __init__(
        self,
        template: Template | JinjaTemplate,
        schema: Schema | None,
        fields: Sequence[Field],
    ) -> None:
        self.template = template
        self.schema = schema
        self.fields = fields
        self.found: dict[str, tuple[str, str, _Said]] = {}
        self._refused: list[str] = []

    @property
    def left_out(self) -> str:
        """How many rows can't be shown, and why the first can't; "" where all can."""
        if not self._refused:
            return ""
        rows = "1 row" if len(self._refused) == 1 else f"{len(self._refused):,} rows"
        return f"{rows} can't be shown ({self._refused[0]})"

    def take(self, cells: Cells | None, said: _Said) -> None:
        """A row by its cells (None: they aren't known), and what is said of its fields."""
        try:
            if cells is None:
                columns = ", ".join(self.template.columns)
                raise ValueError(f"its label isn't known by the prompt's columns: {columns}")
            text, values = self._text(cells), self._values(said)
            answer = self._answer(values)
        except (ValueError, OndineError) as error:
            self._refused.append(" ".join(str(error).split())[:160].rstrip("."))
            return
        content = _content(cells)
        self.found.pop(content, None)
        self.found[content] = text, answer, values

    def _text(self, cells: Cells) -> str:
        """What the prompt of a row says that not all prompts begin or end with."""
        prompt = self.template.render(cells)
        if prompt is None:
            raise ValueError("all columns that the prompt names are missing")
        text = prompt.text.removeprefix(self.template.head)
        return text.removesuffix(self.template.tail) or text

    def _values(self, said: _Said) -> dict[str, Any]:
        """A value of JSON for each field."""
        for field in self.fields:
            if field.name not in said:
                raise ValueError(f"it has no label of {field.name!r}")
        return {it.name: json_value(typed(it, said[it.name])) for it in self.fields}

    def _answer(self, values: _Said) -> str:
        if self.schema is not None:
            return self.schema.written(values)
        (text,) = values.values()
        if not (text or "").strip():
            raise ValueError("its answer is missing")
        return str(text)


def _frame(given: Any) -> Frame:
    if kind_of(given) is None:
        raise ConfigurationError(
            f"--examples is a {type(given).__name__}: give a pandas or polars DataFrame with the "
            "prompt's columns and one column for each field, or the name of a label set"
        )
    return wrap(given, "examples")


def _of_frame(
    frame: Frame, columns: Sequence[str], fields: Sequence[Field]
) -> Iterator[tuple[Cells, _Said]]:
    names = [field.name for field in fields]
    for name in (*columns, *names):
        if name not in frame.columns:
            near = nearest(name, frame.columns)
            hint = f"Did you mean {near!r}? " if near else ""
            what = "the prompt names" if name in columns else "answers have as a field"
            raise ColumnError(
                f"--examples {frame.name} has no column {name!r}, which {what} (it has "
                f"{', '.join(frame.columns)}). {hint}Rename a column, or add it"
            )
    for cells in chain.from_iterable(frame.iter_rows([*columns, *names])):
        said = zip(names, cells[len(columns) :], strict=True)
        yield cells[: len(columns)], {name: day(value) for name, value in said}


def _of_labels(
    name: str,
    columns: Sequence[str],
    fields: Sequence[Field],
    rows: Frame | None,
    folder: Path | str | None,
) -> Iterator[tuple[Cells | None, _Said]]:
    """The contents of a label set, with the last value that anyone has said of each field."""
    there = label_sets(folder)
    if name not in there:
        near = nearest(name, there)
        sets = f"the label sets are {', '.join(there)}" if there else "there is no label set yet"
        hint = f"did you mean {near!r}?" if near else f"{sets}. Give one, or a DataFrame"
        raise ConfigurationError(f"--examples {name} is neither a label set nor a frame: {hint}")
    labels = LabelSet(name, folder)
    said: dict[tuple[tuple[str, str], ...], tuple[Label, dict[str, Any]]] = {}
    for label in labels.labels:
        key = tuple(sorted(label.key.items()))
        _, before = said.pop(key, (label, {}))
        said[key] = label, {**before, **label.fields}
    known = {field.name for field in fields}
    if not any(known & set(values) for _, values in said.values()):
        others = dict.fromkeys(it for _, values in said.values() for it in values)
        raise ColumnError(
            f"--examples {name} has labels of {', '.join(others) or 'nothing'}, and the answer's "
            f"fields are {', '.join(sorted(known))}: call a field so, or give other labels"
        )
    found = list(said.values())
    cells = _cells_of([label for label, _ in found], labels, columns, rows)
    for own, (_, values) in zip(cells, found, strict=True):
        yield own, values


def _cells_of(
    about: Sequence[Label], labels: LabelSet, columns: Sequence[str], rows: Frame | None
) -> list[Cells | None]:
    """The cells of labels: those of their rows, else the texts that they are known by."""
    places: list[int | None] = [None] * len(about)
    if rows is not None and len(rows):
        finder = RowLabels(labels, rows, rows.columns[:1])
        places = [next(iter(finder.positions(label)), None) for label in about]
    found = [at for at in places if at is not None]
    own = iter([] if rows is None else rows.iter_rows(columns, positions=found))
    of_rows = chain.from_iterable(own)
    return [
        _texts(label, columns) if at is None else next(of_rows)
        for label, at in zip(about, places, strict=True)
    ]


def _texts(label: Label, columns: Sequence[str]) -> Cells | None:
    known = [label.key.get(name) for name in columns]
    return None if None in known else known


def _told_apart(fields: Sequence[Field], said: Sequence[_Said]) -> str:
    """The field whose classes take turns: one of few values; "" where there is none."""
    for field in fields:
        if field.choices or field.kind == "bool":
            return field.name
    for field in fields:
        classes = {class_of(each[field.name]) for each in said}
        if 1 < len(classes) <= min(_MOST_STRATA, len(said) // 2):
            return field.name
    return ""


def _place(content: str) -> float:
    """A hash of a content, from 0 to 1: the same everywhere, and by chance."""
    digest = hashlib.blake2b(content.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
