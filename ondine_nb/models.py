"""The values that pass between the rooms: results, counts, tokens and failures.

Money is `Decimal` in USD, durations are seconds, tokens and rows are counts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Protocol, TypeAlias
from uuid import UUID, uuid4

from .errors import ConfigurationError

__all__ = [
    "NO_USAGE",
    "UNKNOWN_USAGE",
    "ZERO",
    "CheckpointInfo",
    "CostEstimate",
    "ExecutionResult",
    "Failure",
    "MediaCounts",
    "MediaPart",
    "PictureLimits",
    "ProcessingStats",
    "Prompt",
    "PromptPart",
    "QualityReport",
    "RowCounts",
    "Savings",
    "Usage",
    "ValidationResult",
]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that one answer was billed for; the input kinds don't overlap.

    Not `known`: the answer doesn't say, or says what can't be. It counts as 0, but isn't.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    known: bool = field(default=True, kw_only=True)

    @classmethod
    def of_message(cls, message: Mapping[str, Any]) -> Usage:
        """The usage of a Messages API answer: its `usage` object, without what has no tokens.

        `UNKNOWN_USAGE` where input or output is missing, or a count is no whole number of tokens
        from 0 to `MOST_TOKENS`.
        """
        told = message.get("usage")
        if not isinstance(told, dict):
            return UNKNOWN_USAGE
        get = told.get
        try:
            return _usage(
                get("input_tokens"),
                get("output_tokens"),
                get("cache_read_input_tokens") or 0,
                get("cache_creation_input_tokens") or 0,
            )
        except TypeError:  # a list, say: nothing that could be counted
            return UNKNOWN_USAGE

    @property
    def prompt_tokens(self) -> int:
        """All input tokens, cached or not: what a price tier is chosen by."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    @property
    def total_tokens(self) -> int:
        """All tokens, in and out."""
        return self.prompt_tokens + self.output_tokens

    def shares(self, n: int) -> list[Usage]:
        """`n` parts that add up to it, as equal as whole tokens are."""

        def share(tokens: int, at: int) -> int:
            return tokens // n + (at < tokens % n)

        kinds = (
            self.input_tokens,
            self.output_tokens,
            self.cache_read_tokens,
            self.cache_write_tokens,
        )
        known = self.known
        return [Usage(*(share(tokens, at) for tokens in kinds), known=known) for at in range(n)]

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
        )


@lru_cache(maxsize=4096, typed=True)  # `True` is no count, and equal to one
def _usage(*told: Any) -> Usage:
    """Short answers have few usages between them: equal ones are one object, judged once."""
    counts = [int(it) if isinstance(it, float) and it.is_integer() else it for it in told]
    if all(type(count) is int and 0 <= count <= MOST_TOKENS for count in counts):
        return Usage(*counts)
    return UNKNOWN_USAGE


class PromptPart(Protocol):
    """A part of a prompt that isn't text, such as an image or a document."""

    @property
    def kind(self) -> str:
        """One word for what it is: `image`, `document`."""
        ...

    @property
    def key_bytes(self) -> bytes:
        """What identifies its content, and how it is sent, in the journal's keys."""
        ...

    @property
    def size(self) -> int:
        """A bound on its input tokens."""
        ...

    @property
    def text(self) -> str:
        """A few words for it in views."""
        ...


class MediaPart(PromptPart, Protocol):
    """A picture or a document in a prompt: what a provider needs to know to send it.

    Its bytes are not held: `load` reads them, each time it is called. Where there is a `url`, the
    server fetches it itself, and there is nothing to read.
    """

    @property
    def url(self) -> str:
        """Where the server fetches it, or ""."""
        ...

    @property
    def pages(self) -> int | None:
        """Pages of a document, where they are known."""
        ...

    @property
    def scaling(self) -> str:
        """In what way its bytes are changed before they are sent, or ""."""
        ...

    @property
    def is_measured(self) -> bool:
        """Whether there is a rule for its tokens; else its `size` is what anything may come to."""
        ...

    @property
    def likely(self) -> int:
        """About how many input tokens it comes to."""
        ...

    @property
    def length(self) -> int:
        """About how many bytes it is sent with: those of its file; 0 of a URL."""
        ...

    def load(self) -> tuple[str, bytes]:
        """Media type and bytes to send, read now: in a thread. Raises `MediaError`."""
        ...


@dataclass(slots=True)
class MediaCounts:
    """How many pictures and documents there were in prompts, and pages in those whose are known.

    `changed` of them are scaled down, or otherwise changed, before they are sent.
    """

    pictures: int = 0
    documents: int = 0
    pages: int = 0
    changed: int = 0

    def add(self, prompt: Prompt, beside: int = 0) -> None:
        """Count those of one more prompt, but for so many parts that all prompts begin with."""
        for part in prompt.parts[beside:]:
            kind = getattr(part, "kind", "")
            self.pictures += kind == "image"
            self.documents += kind == "document"
            self.pages += getattr(part, "pages", None) or 0
            self.changed += bool(getattr(part, "scaling", ""))

    def __str__(self) -> str:
        """In words: `1,200 pictures (34 changed to fit), 3 PDFs with 120 pages`; "" of none."""
        told = []
        if self.pictures:
            told.append("1 picture" if self.pictures == 1 else f"{self.pictures:,} pictures")
        if self.documents:
            pages = "1 page" if self.pages == 1 else f"{self.pages:,} pages"
            told.append("1 PDF" if self.documents == 1 else f"{self.documents:,} PDFs")
            told[-1] += f" with {pages}" if self.pages else ""
        changed = f" ({self.changed:,} scaled down or cut out to fit)" if self.changed else ""
        return ", ".join(told) + changed


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """The largest picture that a model looks at as it is; a larger one is to be scaled down.

    `px` are pixels of the longer side, `patches` squares of `patch` pixels that it may cover (None:
    any number), `most_bytes` those of its file.
    """

    px: int
    patches: int | None = None
    patch: int = 28
    most_bytes: int = 3_932_160  # 5 MiB in base64

    def of_px(self, px: int) -> PictureLimits:
        """The same with so many pixels of the longer side, also where the model's are fewer."""
        return replace(self, px=px, patches=self.patches if px <= self.px else None)

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """Width and height as large as the model looks at, in the same proportions."""
        share, size = min(1.0, self.px / max(width, height)), (width, height)
        while share < 1.0 or self._passed_by(*size):  # patches at the edges count whole
            size = max(1, round(width * share)), max(1, round(height * share))
            if not self._passed_by(*size):
                return size
            share *= 0.998
        return size

    def _passed_by(self, width: int, height: int) -> bool:
        """Whether a picture is larger than the model looks at."""
        covered = -(-width // self.patch) * -(-height // self.patch)
        return max(width, height) > self.px or (self.patches is not None and covered > self.patches)


Part: TypeAlias = "str | PromptPart"
_FRAMED = b"\xff"  # a byte that no text has in UTF-8, so that no text can pass for framed parts


class Prompt:
    """A rendered prompt: what one request asks, in parts; it doesn't change.

    `parts` are texts and, between them, what isn't text; neighbouring texts are one. `text` is
    the prompt where it `is_text` only, else its texts with a word for each other part: for views.
    `size` is its UTF-8 bytes, with the other parts' sizes: it has no more input tokens than that.
    `key_bytes` stand for it in the journal's keys: of a text alone, the text in UTF-8. Several
    parts are framed by kind and length, so that no two prompts are alike. `vote` counts from 1 how
    often the same is asked: only from the second time on it stands in the key.
    """

    __slots__ = ("is_text", "key_bytes", "parts", "size", "text", "vote")

    is_text: bool
    key_bytes: bytes
    parts: tuple[Part, ...]
    size: int
    text: str
    vote: int

    def __init__(self, *parts: Part) -> None:
        if len(parts) != 1:
            parts = _joined(parts)
        text = parts[0]
        if isinstance(text, str) and len(parts) == 1:  # nearly every row's: in a few steps
            is_text, key_bytes = True, text.encode("utf-8", "replace")
            size = len(key_bytes)
        else:
            is_text = False
            text = "".join(part if isinstance(part, str) else part.text for part in parts)
            key_bytes = _framed(parts)
            size = sum(map(_size, parts))
        _put_is_text(self, is_text)
        _put_key_bytes(self, key_bytes)
        _put_parts(self, parts)
        _put_size(self, size)
        _put_text(self, text)
        _put_vote(self, 1)

    def again(self, vote: int) -> Prompt:
        """The same prompt, asked for the `vote`-th time: its answer is another one."""
        if vote == self.vote:
            return self
        other = Prompt(*self.parts)
        if vote > 1:
            number = str(vote).encode()
            framed = b"%bvote:%d:%b" % (_FRAMED, len(number), number)
            _put_key_bytes(other, framed + other.key_bytes)
            _put_vote(other, vote)
        return other

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Prompt doesn't change: make another one, not with {name} set")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Prompt):
            return NotImplemented
        return self.parts == other.parts and self.vote == other.vote

    def __hash__(self) -> int:
        return hash(self.parts)

    def __reduce__(self) -> tuple[Callable[..., Prompt], tuple[Any, ...]]:
        return _made_again, (self.parts, self.vote)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Prompt({', '.join(map(repr, self.parts))})"


# Past `__setattr__`, each by the slot's own way: one prompt is made for each row.
_put_is_text, _put_key_bytes, _put_parts, _put_size, _put_text, _put_vote = (
    getattr(Prompt, name).__set__ for name in Prompt.__slots__
)


def _made_again(parts: tuple[Part, ...], vote: int) -> Prompt:
    return Prompt(*parts).again(vote)


def _size(part: Part) -> int:
    return len(part.encode("utf-8", "replace")) if isinstance(part, str) else part.size


def _framed(parts: tuple[Part, ...]) -> bytes:
    framed = [_FRAMED]
    for part in parts:
        kind, content = (
            ("text", part.encode("utf-8", "replace"))
            if isinstance(part, str)
            else (part.kind, part.key_bytes)
        )
        framed += [f"{kind}:{len(content)}:".encode(), content]
    return b"".join(framed)


def _joined(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """The same parts with neighbouring texts as one, without empty ones; at least one part."""
    joined: list[Part] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(before := joined[-1], str):
            joined[-1] = before + part
        elif part != "":
            joined.append(part)
    return tuple(joined) or ("",)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one row has no answer. `row` is its position in the input, from 0."""

    row: int
    stage: str
    error_type: str
    message: str
    attempts: int = 0
    label: str = "failed"


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Rows by outcome: of `total`, so many are answered, failed or skipped (nothing to ask).

    `journal` counts those of the answered ones that came from the journal.
    """

    total: int = 0
    answered: int = 0
    journal: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def done(self) -> int:
        """Rows that have an outcome."""
        return self.answered + self.failed + self.skipped

    @property
    def not_run(self) -> int:
        """Rows that have none (yet)."""
        return max(0, self.total - self.done)

    def __add__(self, other: RowCounts) -> RowCounts:
        return RowCounts(
            self.total + other.total,
            self.answered + other.answered,
            self.journal + other.journal,
            self.failed + other.failed,
            self.skipped + other.skipped,
        )


@dataclass
class ProcessingStats:
    """What a run did to its rows. Rates are rows a second over the whole run."""

    total_rows: int
    processed_rows: int
    failed_rows: int
    skipped_rows: int
    rows_per_second: float
    total_duration_seconds: float
    stage_durations: dict[str, float] = field(default_factory=dict)


@dataclass
class CostEstimate:
    """Cost in USD and tokens, before a run or after it.

    `confidence` is "estimate" or "rough" before, "actual" after.

    `low` and `high` bound an estimate: `high` is a ceiling by `max_tokens`. All three prices are
    None where the model's price is unknown, never 0. `notes` says how the figures came about.
    `requests` are those that would be sent, for `questions`: each is a row's, and a pack holds
    several of them. `pictures` and `pages` (of documents) are those in the requests.
    What a run has cost is broken down in USD: by stage, by kind of token (input, output,
    cache_read, cache_write), and by attempt: 1 for first answers, from 2 on for those that were
    asked again because they broke the schema. `saved` is what it didn't have to pay.
    """

    total_cost: Decimal | None
    total_tokens: int
    input_tokens: int
    output_tokens: int
    rows: int
    breakdown_by_stage: dict[str, Decimal] = field(default_factory=dict)
    confidence: str = "estimate"
    low: Decimal | None = None
    high: Decimal | None = None
    requests: int | None = None
    questions: int | None = None
    pictures: int = 0
    pages: int = 0
    notes: tuple[str, ...] = ()
    breakdown_by_kind: dict[str, Decimal] = field(default_factory=dict)
    breakdown_by_attempt: dict[int, Decimal] = field(default_factory=dict)
    saved: Savings | None = None

    def scaled(self, rows: int) -> CostEstimate:
        """This estimate for so many rows of the same sort, where it is one of at least one row."""
        if not self.rows or rows == self.rows:
            return self

        def all_of(value: Any) -> Any:
            return None if value is None else type(value)(Decimal(value) * rows / self.rows)

        counts = ("input_tokens", "output_tokens", "requests", "questions", "pictures", "pages")
        names = (*counts, "total_cost", "low", "high")
        grown = replace(self, rows=rows, **{name: all_of(getattr(self, name)) for name in names})
        grown.total_tokens = grown.input_tokens + grown.output_tokens
        grown.notes = (*self.notes, f"by {self.rows:,} of the rows")
        return grown


@dataclass(frozen=True, slots=True)
class Savings:
    """What a run didn't have to pay, in USD: answers from the `journal`, equal rows (`duplicates`),
    cached tokens (`caching`, below 0 where a cache was written and hardly read), and requests in
    `batches`.
    """

    journal: Decimal
    duplicates: Decimal
    caching: Decimal
    batches: Decimal = Decimal(0)

    @property
    def total(self) -> Decimal:
        """All of it, in USD."""
        return self.journal + self.duplicates + self.caching + self.batches


@dataclass
class QualityReport:
    """How many rows of a result have all of their outputs.

    `null_outputs` lack one, `empty_outputs` have a blank text, `success_rate` is the percentage of
    the others. `quality_score` is "excellent" from 95 percent on, "good" from 80, "poor" from 50,
    else "critical".
    """

    total_rows: int
    valid_outputs: int
    null_outputs: int
    empty_outputs: int
    success_rate: float
    quality_score: str
    warnings: list[str] = field(default_factory=list)
    issues: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, total: int, nulls: int, empty: int) -> QualityReport:
        """The report on `total` rows."""
        valid = total - nulls - empty
        rate = 100.0 * valid / total if total else 100.0
        steps = ((95.0, "excellent"), (80.0, "good"), (50.0, "poor"), (0.0, "critical"))
        score = next(name for least, name in steps if rate >= least)
        found = [(nulls, "without a value"), (empty, "with a blank text")]
        lines = [f"{count:,} of {total:,} rows are {what}" for count, what in found if count]
        acceptable = score in ("excellent", "good")
        kept: dict[str, list[str]] = {"warnings" if acceptable else "issues": lines}
        return cls(total, valid, nulls, empty, rate, score, **kept)

    @property
    def is_acceptable(self) -> bool:
        """Whether 80 percent of the rows or more have all of their outputs."""
        return self.quality_score in ("excellent", "good")

    @property
    def has_issues(self) -> bool:
        """Whether anything is missing."""
        return bool(self.warnings or self.issues)


@dataclass
class ExecutionResult:
    """What an executor gives back: the frame, its counts, its cost and its failures."""

    data: Any
    metrics: ProcessingStats
    costs: CostEstimate
    errors: list[Any] = field(default_factory=list)
    execution_id: UUID = field(default_factory=uuid4)
    start_time: datetime = field(default_factory=datetime.now)
    end_time: datetime | None = None
    success: bool = True
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def duration(self) -> float:
        """Seconds from start to end; 0.0 while there is no end."""
        return (self.end_time - self.start_time) / timedelta(seconds=1) if self.end_time else 0.0

    @property
    def error_rate(self) -> float:
        """Failed rows in percent of all rows; 0.0 for no rows."""
        total = self.metrics.total_rows
        return 100.0 * self.metrics.failed_rows / total if total else 0.0

    @property
    def is_complete(self) -> bool:
        """Whether the run ended and no row is left without an outcome."""
        counts = self.metrics
        ended = counts.processed_rows + counts.failed_rows + counts.skipped_rows
        return self.end_time is not None and ended >= counts.total_rows

    def to_pandas(self) -> Any:
        """The data as a pandas DataFrame."""
        polars = sys.modules.get("polars")
        if polars is not None and isinstance(self.data, polars.DataFrame):
            return self.data.to_pandas()
        import pandas

        return self.data if isinstance(self.data, pandas.DataFrame) else pandas.DataFrame(self.data)

    def to_polars(self) -> Any:
        """The data as a polars DataFrame (a pandas index is left out)."""
        import polars

        return self.data if isinstance(self.data, polars.DataFrame) else polars.DataFrame(self.data)

    def to_list(self) -> list[dict[str, Any]]:
        """The data as one dict for each row."""
        polars = sys.modules.get("polars")
        if polars is not None and isinstance(self.data, polars.DataFrame):
            return list(self.data.iter_rows(named=True))
        pandas = sys.modules.get("pandas")
        if pandas is not None and isinstance(self.data, pandas.DataFrame):
            return list(self.data.to_dict(orient="records"))
        return [] if self.data is None else list(self.data)

    def validate_output_quality(self, output_columns: Sequence[str]) -> QualityReport:
        """How many rows have a value in each of `output_columns`.

        Raises `ConfigurationError` for a column that the data doesn't have.
        """
        frame = self.to_pandas()
        unknown = [name for name in output_columns if name not in frame.columns]
        if unknown:
            known = ", ".join(map(str, frame.columns))
            raise ConfigurationError(f"no column '{unknown[0]}' in the result: it has {known}")
        cells = frame[list(output_columns)]
        nulls = cells.isna().any(axis=1)
        texts = cells.apply(lambda column: column.map(lambda cell: str(cell).strip() == ""))
        return QualityReport.of(
            len(frame), int(nulls.sum()), int((texts.any(axis=1) & ~nulls).sum())
        )

    def __repr__(self) -> str:
        """One line: `await run` at the end of a cell shows this, and a frame would be pages."""
        counts, total = self.metrics, self.costs.total_cost
        return (
            f"<ExecutionResult: {counts.processed_rows} of {counts.total_rows} rows, "
            f"{counts.failed_rows} failed, {counts.skipped_rows} skipped, "
            f"{'price unknown' if total is None else f'${total:f}'}>"
        )


@dataclass
class CheckpointInfo:
    """One stored checkpoint, as `list_checkpoints` names it."""

    session_id: UUID
    checkpoint_path: str
    row_index: int
    stage_index: int
    timestamp: datetime
    size_bytes: int


@dataclass
class ValidationResult:
    """A stage's verdict on its input. `errors` stop the run, `warnings` are logged."""

    is_valid: bool
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add_error(self, error: str) -> None:
        """Add a reason why the run can't go on."""
        self.errors.append(error)
        self.is_valid = False

    def add_warning(self, warning: str) -> None:
        """Add what is worth a line in the log."""
        self.warnings.append(warning)


ZERO = Decimal(0)
NO_USAGE = Usage()
UNKNOWN_USAGE = Usage(known=False)
# More than any model reads or writes at once: a count above it is no count.
MOST_TOKENS = 100_000_000
