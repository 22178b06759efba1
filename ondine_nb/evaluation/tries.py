"""Tries of a prompt on some rows, kept on disk: v1, v2, … with settings, figures and notes.

    .ondine/tries/SET/2026-11-30-3f2a9c1b04d7.jsonl

A try is what was asked (`settings`) of which rows (`sample`, `content`): asked again, it is the
same try, renewed. Its answers are in the journal, where the same settings over the same rows find
them for $0. The lines are `journal.JsonLines`; a number is given under the set's lock, so that no
two kernels give the same one, and never changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from ..data import Column, Frame, kind_of, records_frame, wrap
from ..errors import ConfigurationError
from ..journal import JsonLines, json_line_sets
from ..prompts import word_diff
from ..providers import without_login
from ..text import as_text, one_line
from .labels import json_value
from .scores import Scores

__all__ = [
    "Change",
    "Tries",
    "Try",
    "TryScore",
    "changes",
    "plain_settings",
    "told",
    "try_sets",
    "with_changes",
]

# Options that leave the question as it is: where they differ, it is the same try.
_OF_THE_RUN = frozenset(
    [
        "batch",
        "budget",
        "cache",
        "chunk_size",
        "column",
        "concurrency",
        "dtypes",
        "executor",
        "fail_above",
        "fresh",
        "on_error",
        "overwrite",
        "price_in",
        "price_out",
        "report",
        "require",
        "sample",
        "timeout",
        "to",
    ]
)
# What a record never holds: objects of the process, and whoever may carry a key.
_NEVER = frozenset(
    ["api_key", "auth_token", "headers", "journal", "observers", "provider", "stages"]
)
_SHORT = 24  # characters of a value that is told as "old → new"; a longer one word by word


@dataclass(frozen=True, slots=True)
class TryScore:
    """A field's figure in short: `value` of `measure` over `n` rows, 95 % from `low` to `high`.

    `measure` is "accuracy" (by labels), "agreement" (with other answers) or "mae".
    """

    field: str
    measure: str
    n: int
    value: float | None
    low: float | None = None
    high: float | None = None
    macro_f1: float | None = None

    def __str__(self) -> str:
        value = "–" if self.value is None else f"{self.value:.2f}"
        between = (
            "" if self.low is None or self.high is None else f"{self.low:.2f} to {self.high:.2f}"
        )
        words = {"agreement": " the same", "mae": " mean error"}.get(self.measure, "")
        return f"{value} ({between}){words}" if between else f"{value}{words}"

    @classmethod
    def of(cls, scores: Scores) -> TryScore:
        """The score of a field, in short."""
        measure = "accuracy" if scores.mae is None else "mae"
        low, high = scores.interval or (None, None)
        value = getattr(scores, measure)
        return cls(scores.field, measure, scores.n, value, low, high, scores.macro_f1)


@dataclass(frozen=True, slots=True)
class Try:
    """One preview: what was asked of which rows, what came of it, and what it cost.

    `settings` are JSON, named as Pipeline's options, with `prompt` and `params` (see
    `plain_settings`); `sample` are positions in a frame of `frame_rows` rows, `content` a digest of
    what the prompt reads there ("" if unknown). `rows` of the sample are through, `answered` and
    `failed` of them; `cost` is in USD, what the answers cost when they were paid for (None: the
    price is unknown), `p50` the middle latency in seconds, `run` the id of the last run. `at` and
    `renewed`, when it was first and last asked, are ISO 8601 in UTC. `number` is 0 until kept.
    """

    settings: Mapping[str, Any]
    sample: Sequence[int] = ()
    content: str = ""
    frame_rows: int = 0
    rows: int = 0
    answered: int = 0
    failed: int = 0
    cost: Decimal | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    p50: float | None = None
    scores: Sequence[TryScore] = ()
    run: str = ""
    note: str = ""
    number: int = 0
    at: str = ""
    renewed: str = ""

    @property
    def id(self) -> str:
        """Tells what is asked, of which rows (12 hex digits): the same for the same try."""
        asked = {name: it for name, it in self.settings.items() if name not in _OF_THE_RUN}
        said = json.dumps([asked, list(self.sample), self.content], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """ "v2"."""
        return f"v{self.number}"

    @property
    def prompt(self) -> str:
        """The prompt."""
        return str(self.settings.get("prompt", ""))

    @property
    def model(self) -> str:
        """The model as it was given; "" for the usual one."""
        return str(self.settings.get("model") or "")

    @property
    def options(self) -> dict[str, Any]:
        """The settings as `Pipeline` takes them as keywords, without the prompt."""
        options = {name: it for name, it in self.settings.items() if name != "prompt"}
        schema = options.get("schema")
        if isinstance(schema, Mapping) and set(schema) == {"model", "json_schema"}:
            options["schema"] = schema["json_schema"]
        return options

    @property
    def usd_per_1000(self) -> Decimal | None:
        """What 1,000 rows like the answered ones cost, in USD; None where that isn't known."""
        return self.cost * 1000 / self.answered if self.cost is not None and self.answered else None


@dataclass(frozen=True, slots=True)
class Change:
    """What a try has changed: `name` is a setting's, `removed` and `added` are texts."""

    name: str
    removed: str
    added: str

    def __str__(self) -> str:
        if self.name in ("prompt", "system", "schema"):
            texts = [f"− “{self.removed}”"] * bool(self.removed)
            texts += [f"+ “{self.added}”"] * bool(self.added)
            told = " ".join(texts)
            return told if self.name == "prompt" else f"{self.name} {told}"
        return f"{self.name} {self.removed or 'default'} → {self.added or 'default'}"


class Tries:
    """The tries of one task, by default a frame's name, in a journal's folder (see the module).

    Safe to use from any thread and from any number of processes at once. Raises
    `ConfigurationError` for a set without a name.
    """

    def __init__(self, name: str, folder: Path | str | None = None) -> None:
        if not name.strip():
            raise ConfigurationError("tries need a name, such as the frame's: 'reviews'")
        self._lines = JsonLines("tries", name, folder, check=_check_line, one="try")
        self._read: tuple[int, dict[str, Try]] = (-1, {})

    @property
    def name(self) -> str:
        """The set's name."""
        return self._lines.name

    @property
    def path(self) -> Path:
        """The folder of the set's files."""
        return self._lines.path

    @property
    def damaged(self) -> list[str]:
        """What couldn't be read, a line each: file, line and why. The rest is as it was."""
        return self._lines.damaged

    def refresh(self) -> Tries:
        """Read what was written since, here and by other kernels."""
        self._lines.refresh()
        return self

    def keep(self, tried: Try) -> Try:
        """Keep a try, durably; gives it with its number, the next one, and its note.

        One that asks what another has asked of the same rows is that one, with these figures; a
        latency that wasn't measured this time stays as it was. Raises `JournalError` where it
        can't be written.
        """
        tried = replace(tried, settings=plain_settings(tried.settings), note="")
        with self._lines.alone():
            known = self._by_id()
            before = known.get(tried.id)
            last = max((it.number for it in known.values()), default=0)
            number = last + 1 if before is None else before.number
            if before is not None and tried.p50 is None:
                tried = replace(tried, p50=before.p50)
            self._lines.append([{"id": tried.id, "number": number, "try": _said(tried)}])
            return self._by_id()[tried.id]

    def note(self, number: int, text: str) -> Try:
        """Put a note to a try; "" takes it away. Raises as `get` and `keep`."""
        return self._say(number, {"note": text})

    def score(self, number: int, scores: Sequence[TryScore]) -> Try:
        """Put other scores to a try: of labels that came later, say. Raises as `get` and `keep`."""
        return self._say(number, {"scores": [asdict(score) for score in scores]})

    def _say(self, number: int, said: Mapping[str, Any]) -> Try:
        known = self.get(number)
        self._lines.append([{"id": known.id, "number": known.number, **said}])
        return self.get(number)

    def get(self, number: int) -> Try:
        """The try of that number. Raises `ConfigurationError` where there is none."""
        for found in self.tries:
            if found.number == number:
                return found
        there = ", ".join(found.name for found in self.tries[-5:]) or "none yet"
        raise ConfigurationError(f"{self.name} has no try v{number} (the last ones: {there})")

    def find(self, tried: Try) -> Try | None:
        """The try that asks the same of the same rows; None where there is none."""
        asked = replace(tried, settings=plain_settings(tried.settings))
        return self._by_id().get(asked.id)

    @property
    def tries(self) -> list[Try]:
        """The tries by number, from the first to the last."""
        return sorted(self._by_id().values(), key=lambda it: it.number)

    def _by_id(self) -> dict[str, Try]:
        version = self._lines.version
        if self._read[0] != version:
            self._read = version, _folded(self._lines.lines)
        return self._read[1]

    def __len__(self) -> int:
        return len(self._by_id())

    def __repr__(self) -> str:
        return f"<Tries {self.name}: {len(self):,} tries in {self.path}>"

    def frame(self, kind: str = "pandas") -> Any:
        """The leaderboard as a frame of `kind`, "pandas" or "polars": one row for each try.

        `try` ("v1"), what `changed` against the one before, `model`, `rows`, `answered`, `failed`;
        of its first score `field`, `n`, one of `accuracy`, `agreement` and `mae` with its 95 %
        interval (`low`, `high`), `macro_f1`; `usd_per_1000` rows, `cost` (USD), `input_tokens`,
        `output_tokens`, `p50` (seconds), `note`, `run`, `at` and `renewed` (UTC).
        """
        tries = self.tries
        changed = [told for _, told in with_changes(tries)]
        firsts = [found.scores[0] if found.scores else None for found in tries]

        def column(name: str, kind: str) -> Column:
            return Column(name, kind, [getattr(found, name) for found in tries])

        def figure(name: str, kind: str) -> Column:
            return Column(name, kind, [getattr(first, name, None) for first in firsts])

        def measured(name: str) -> Column:
            values = [it.value if it is not None and it.measure == name else None for it in firsts]
            return Column(name, "float", values)

        return records_frame(
            kind,
            [
                Column("try", "str", [found.name for found in tries]),
                Column("changed", "str", changed),
                column("model", "str"),
                *(column(name, "int") for name in ("rows", "answered", "failed")),
                figure("field", "str"),
                figure("n", "int"),
                *map(measured, ("accuracy", "agreement", "mae")),
                *(figure(name, "float") for name in ("low", "high", "macro_f1")),
                Column("usd_per_1000", "float", [_float(it.usd_per_1000) for it in tries]),
                Column("cost", "float", [_float(it.cost) for it in tries]),
                *(column(name, "int") for name in ("input_tokens", "output_tokens")),
                column("p50", "float"),
                column("note", "str"),
                column("run", "str"),
                *(
                    Column(name, "datetime", [_moment(getattr(it, name)) for it in tries])
                    for name in ("at", "renewed")
                ),
            ],
        )


def try_sets(folder: Path | str | None = None) -> list[str]:
    """The names of the sets of tries in a journal's folder (default `journal.home()`), sorted."""
    return json_line_sets("tries", folder)


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON, to be kept: unset ones, keys and objects of the process are left out.

    A pydantic model is its name and JSON Schema, a frame its name, or its size and a digest (rows
    are never kept), a provider its identity, without name and password as a base URL is; money is
    text.
    """
    return {
        name: _plain(name, value)
        for name, value in settings.items()
        if value is not None and name not in _NEVER
    }


def _plain(name: str, value: Any) -> Any:
    if name == "base_url":
        return without_login(str(value))
    if isinstance(value, Decimal | Path):
        return str(value)
    if isinstance(value, type):
        schema = getattr(value, "model_json_schema", None)
        known = {"model": value.__name__}
        return known if schema is None else known | {"json_schema": schema()}
    if isinstance(value, Frame):
        return value.name
    if isinstance(identity := getattr(value, "identity", None), str):
        return without_login(identity)
    if kind_of(value) is not None:
        return _frame_text(wrap(value, name))
    return json_value(value)


def _frame_text(frame: Frame) -> str:
    """What is kept of a frame: how many rows, and a digest of them."""
    digest = hashlib.sha256(repr(frame.columns).encode())
    for chunk in frame.iter_rows(list(frame.columns)):
        for row in chunk:
            digest.update(json.dumps([as_text(cell) for cell in row]).encode())
    return f"a frame of {len(frame):,} rows ({digest.hexdigest()[:8]})"


# --- what changed


def changes(before: Try | None, after: Try) -> list[Change]:
    """What `after` asks otherwise than `before`: words of texts, values of settings, rows."""
    if before is None:
        return []
    mine, theirs = _parts(after), _parts(before)
    found: list[Change] = []
    for name in dict.fromkeys(["prompt", *theirs, *mine]):
        old, new = theirs.get(name, ""), mine.get(name, "")
        if old == new:
            continue
        texts = name == "prompt" or max(len(old), len(new)) > _SHORT
        found += _hunks(name, old, new) if texts and old and new else [Change(name, old, new)]
    if (list(before.sample), before.content) != (list(after.sample), after.content):
        found.append(_rows_change(before, after))
    return found


def with_changes(tries: Sequence[Try]) -> list[tuple[Try, str]]:
    """Each try with what it has changed against the one before, in a line."""
    befores = [None, *tries][: len(tries)]
    return [
        (after, told(changes(before, after)) if before else "first prompt")
        for before, after in zip(befores, tries, strict=True)
    ]


def told(found: Sequence[Change], limit: int = 120) -> str:
    """Changes in a line of at most `limit` characters, saying how many more there are."""
    if not found:
        return "nothing"
    line = one_line(str(found[0]), limit)
    for at, change in enumerate(found[1:], 1):
        more = f"{line} · {one_line(str(change), limit)}"
        if len(more) > limit:
            return f"{line} +{len(found) - at} more"
        line = more
    return line


def _parts(tried: Try) -> dict[str, str]:
    """The settings that ask, as texts by their names; params by their own."""
    parts: dict[str, Any] = {
        name.replace("_", " "): it for name, it in tried.settings.items() if name not in _OF_THE_RUN
    }
    params = parts.pop("params", None) or {}
    return {name: as_text(it) for name, it in {**parts, **params}.items()}


def _hunks(name: str, old: str, new: str) -> list[Change]:
    """A text's changed words: what was taken out at a place, and what was put there."""
    found, gone = [], ""
    for kind, text in [*word_diff(old, new), ("same", "")]:
        if kind == "removed":
            gone += text
        elif kind == "added" or gone:
            come = text if kind == "added" else ""
            found.append(Change(name, " ".join(gone.split()), " ".join(come.split())))
            gone = ""
    return [change for change in found if change.removed or change.added] or [
        Change(name, "", "white space")
    ]


def _rows_change(before: Try, after: Try) -> Change:
    sizes = f"{len(before.sample):,}", f"{len(after.sample):,}"
    if sizes[0] == sizes[1]:
        sizes = (sizes[0], f"{sizes[1]} others")
    return Change("rows", *sizes)


# --- lines


_NUMBERS = ("frame_rows", "rows", "answered", "failed", "input_tokens", "output_tokens")


def _said(tried: Try) -> dict[str, Any]:
    line = {name: getattr(tried, name) for name in ("content", "p50", "run", *_NUMBERS)}
    line["settings"], line["sample"] = dict(tried.settings), [int(at) for at in tried.sample]
    line["cost"] = None if tried.cost is None else str(tried.cost)
    line["scores"] = [asdict(score) for score in tried.scores]
    return line


def _check_line(line: Mapping[str, Any]) -> None:
    """Raises ValueError for what is no line of tries, saying what is wrong with it."""
    if lacking := {"sequence", "writer", "set", "at", "id", "number"} - set(line):
        raise ValueError(f"it lacks {', '.join(sorted(lacking))}")
    if type(line["id"]) is not str or type(line["number"]) is not int or line["number"] < 1:
        raise ValueError("its id and number are no text and number")
    if "note" in line and type(line["note"]) is not str:
        raise ValueError("'note' is no str")
    try:
        if "try" in line:
            _try(line)
        _scores(line.get("scores", []))
    except (TypeError, AttributeError, KeyError, InvalidOperation) as error:
        raise ValueError(f"it is no try ({type(error).__name__}: {error})") from None


def _try(line: Mapping[str, Any]) -> Try:
    said = line["try"]
    settings, sample = dict(said["settings"]), tuple(said["sample"])
    numbers = {name: said[name] for name in _NUMBERS}
    if not all(type(it) is int for it in (*numbers.values(), *sample)):
        raise TypeError("a count or position is no int")
    return Try(
        settings,
        sample,
        str(said["content"]),
        cost=None if said["cost"] is None else Decimal(said["cost"]),
        p50=None if said["p50"] is None else float(said["p50"]),
        scores=_scores(said["scores"]),
        run=str(said["run"]),
        number=line["number"],
        at=line["at"],
        renewed=line["at"],
        **numbers,
    )


def _scores(said: Sequence[Mapping[str, Any]]) -> tuple[TryScore, ...]:
    known = [field.name for field in fields(TryScore)]
    return tuple(TryScore(*(score[name] for name in known)) for score in said)


def _folded(lines: Sequence[Mapping[str, Any]]) -> dict[str, Try]:
    """The tries by id, as their lines leave them; `lines` are in order."""
    found: dict[str, Try] = {}
    taken: set[int] = set()
    for line in lines:
        known = found.get(line["id"])
        if "try" in line:
            now = _try(line)
            if known is None:
                # Without locks (some network mounts) two may have had one number: the first has it.
                number = max(taken) + 1 if now.number in taken else now.number
                found[line["id"]] = replace(now, number=number)
                taken.add(number)
            else:
                found[line["id"]] = replace(now, number=known.number, at=known.at, note=known.note)
        elif known is not None:
            scores = _scores(line["scores"]) if "scores" in line else known.scores
            note = str(line.get("note", known.note))
            found[line["id"]] = replace(known, scores=scores, note=note)
    return found


def _float(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)


def _moment(at: str) -> datetime | None:
    try:
        return datetime.fromisoformat(at)
    except ValueError:
        return None
