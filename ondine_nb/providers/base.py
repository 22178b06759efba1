"""Who answers: the `Provider` protocol and the nouns of its wire.

A provider sends one request and gives back the raw answer. Retries, journal, budget and views are
not its concern: it raises what `errors` names, and the run does the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from jiter import from_json

from ..errors import (
    AnswerError,
    CutAnswerError,
    EmptyAnswerError,
    JournalError,
    MalformedAnswerError,
    RefusalError,
    UnfinishedAnswerError,
)
from ..models import Prompt, Usage
from .media_rules import ANY_MODEL, MediaRules
from .pricing import ModelPrice

__all__ = [
    "Answer",
    "BatchApi",
    "BatchLimits",
    "BatchResult",
    "Capabilities",
    "Clonable",
    "Provider",
    "Reply",
    "ServerBatch",
    "Settings",
    "capabilities",
    "json_of",
    "off_wire",
    "on_wire",
    "unknown_wire",
    "without_login",
]


@dataclass(frozen=True, slots=True)
class Settings:
    """What is the same for every request of a run; a request adds its prompt.

    `schema` is a JSON Schema that the answer has to meet, `timeout` seconds for one attempt.
    `cached_system` and `cached_head`, what every prompt begins with, ask for these texts to be
    marked for the provider's cache, `cached_parts` for so many parts before the head, the last of
    which is no text: a price, not another question.
    """

    model: str
    max_tokens: int = 1024
    system: str | None = None
    schema: dict[str, Any] | None = None
    effort: str | None = None
    thinking: str = "off"
    timeout: float = 120.0
    cached_system: bool = False
    cached_head: str = ""
    cached_parts: int = 0

    @property
    def caches(self) -> bool:
        """Whether anything is marked for the provider's cache."""
        return self.cached_system or bool(self.cached_head) or self.cached_parts > 0

    def deciding(self) -> dict[str, Any]:
        """Everything here that decides an answer. `max_tokens` only cuts it, so isn't in it."""
        return {
            "model": self.model,
            "system": self.system,
            "schema": self.schema,
            "effort": self.effort,
            "thinking": self.thinking,
        }


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came: the body's bytes, headers by lower-case name, latency in seconds."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    latency: float = 0.0


@dataclass(slots=True)  # as `journal.Entry`: one is made for each journaled row, too
class Answer:
    """An answer that could be read, in the words of the Messages API.

    `stop_reason` is `end_turn` or `stop_sequence` for a whole answer, `max_tokens` or
    `model_context_window_exceeded` for one that is cut, `refusal` where the model refused; `usage`
    is what it is billed for, `blocks` how many blocks of content it has.
    """

    text: str
    stop_reason: str | None
    usage: Usage
    blocks: int = 0

    @classmethod
    def read(cls, body: bytes) -> Answer:
        """Raises `MalformedAnswerError` where `body` isn't a message, `JournalError` where it has
        the name of a wire that isn't known.

        A message without text is an empty answer, whatever stands in its place: it was paid for.
        """
        try:
            message = json_of(body)
            content, reason = message.get("content"), message.get("stop_reason")
            text, blocks = _said(content)
            usage = Usage.of_message(message)
            if (
                content is None
                and "content" not in message
                and not (
                    # Billed and nothing said is an answer that is empty.
                    usage.known and message.get("type", "message") == "message"
                )
            ):
                raise KeyError("content")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            if body.startswith(_ON_WIRE):
                raise unknown_wire(off_wire(body)[0]) from error
            start = body[:60].decode("utf-8", "replace").replace("\n", " ")
            raise MalformedAnswerError(
                f"the answer is not a message of the Messages API: {start!r}", possibly_billed=True
            ) from error
        return cls(text, None if reason is None else str(reason), usage, blocks)

    def usable_text(self) -> str:
        """The text. Raises the reason why there is none to use, an `AnswerError`."""
        if self.stop_reason in _WHOLE and self.text.strip():
            return self.text
        raise self._problem()

    @property
    def cut(self) -> bool:
        """Whether the answer ended for want of tokens."""
        return self.stop_reason in ("max_tokens", "model_context_window_exceeded")

    def _problem(self) -> AnswerError:
        if self.stop_reason == "refusal":
            said = f": {self.text[:200]}" if self.text else ""
            return RefusalError(f"the model refused to answer (stop_reason: refusal){said}")
        if self.cut:
            return CutAnswerError(
                f"the answer was cut (stop_reason: {self.stop_reason}). Raise --max-tokens: only "
                "the rows that were cut are sent again"
            )
        if not self.text.strip():
            return EmptyAnswerError(
                f"the answer is empty: {self.blocks} content blocks without text "
                f"(stop_reason: {self.stop_reason})"
            )
        return UnfinishedAnswerError(
            f"the answer may not be whole (stop_reason: {str(self.stop_reason)[:60]}). It was paid "
            "for, and is sent again by retry_failed() or --fresh only"
        )


_ON_WIRE = b"\0wire:"  # before the name of a body's wire
_WHOLE = ("end_turn", "stop_sequence")  # what is known to end an answer that is all there


def _said(content: Any) -> tuple[str, int]:
    """The text of a message's content, and of how many blocks it is."""
    blocks = content if type(content) is list else [content] if isinstance(content, str) else []
    if len(blocks) == 1 and type(it := blocks[0]) is dict and it.get("type") == "text":
        text = it.get("text")  # of nearly every answer
        return (text if isinstance(text, str) else ""), 1
    # Thinking blocks come first: text is found by its type, never by its place.
    texts = [
        it.get("text") if isinstance(it, dict) and it.get("type") == "text" else it for it in blocks
    ]
    return "".join([it for it in texts if isinstance(it, str)]), len(blocks)


def json_of(body: bytes) -> Any:
    """What `json.loads` makes of `body`, mostly in a third of the time: one is read for each row,
    journaled ones too. What jiter won't take (a lone surrogate, another encoding) goes the old way.
    A number of more digits than Python reads is infinite: what stands beside it was paid for.
    """
    try:
        return from_json(body)
    except ValueError:
        return json.loads(body, parse_int=_whole_number)


def _whole_number(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:  # thousands of digits, which take time by their square
        return float(digits)


def without_login(url: str) -> str:
    """A base URL, or an identity that is one, as it may be shown: without name and password."""
    return re.sub(r"//[^/]*@", "//", url)


def on_wire(wire: str, body: bytes) -> bytes:
    """An answer's body with the name of its wire, as it is journaled.

    A body without one is of the Messages API, or of a provider's own. JSON begins with no NUL.
    """
    return b"%b%b\0%b" % (_ON_WIRE, wire.encode(), body)


def off_wire(body: bytes) -> tuple[str, bytes]:
    """The name of a body's wire ("" where it has none), and the body as it came over it."""
    if not body.startswith(_ON_WIRE):
        return "", body
    wire, _, raw = body[len(_ON_WIRE) :].partition(b"\0")
    return wire.decode("ascii", "replace"), raw


def unknown_wire(wire: str) -> JournalError:
    """What is said of an answer that a later version, or another package, has journaled."""
    return JournalError(
        f"the journal has an answer in the form {wire[:40]!r}, which this version of ondine_nb "
        "doesn't read: bring ondine_nb up to date, or give --fresh"
    )


class Provider(Protocol):
    """Sends requests to one model.

    `identity` names who answers in the journal's keys (never a port that changes), `price` is None
    where it isn't known, `note` one line for the user or "".

    What else there is to say of it has a usual value and may be left out: see `Capabilities`. So a
    prompt is a `str`, unless the attribute `parts` names more than `"text"`.
    """

    identity: str
    model: str
    price: ModelPrice | None
    note: str

    async def open(self, settings: Settings, concurrency: int) -> None:
        """Get ready for these settings on the running loop. Raises `ConfigurationError`."""

    async def send(self, prompt: Any) -> Reply:
        """One attempt, with the prompt's text; with a `Prompt`, where more than text is in `parts`.

        Raises a `TransientError` for what may go well another time, a `RejectedRequestError` for
        what this row will never get, a `FatalProviderError` for what no row will ever get.
        """
        ...

    async def count_tokens(self, prompt: Any) -> int | None:
        """The input tokens of a request, or None where they can't be counted."""
        ...

    def request_bytes(self, prompt: Any) -> int:
        """The UTF-8 bytes of a request: no request has more input tokens than that."""
        ...

    async def close(self) -> None:
        """Let go of connections."""


class Clonable(Provider, Protocol):
    """A provider that can be had twice, which packing needs: it asks in two ways in one run.

    Rows in packs are sent by the one, opened for the packs' settings (a schema and `max_tokens` of
    their own), and rows that go alone by the other.
    """

    def clone(self) -> Provider:
        """Another one that is like it, and not open. It may share whatever can be shared."""
        ...


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The most that one batch may hold: `requests`, and `size` bytes of them."""

    requests: int
    size: int


@dataclass(frozen=True, slots=True)
class ServerBatch:
    """What an API says of a batch: `count` requests in all, `created` a POSIX time.

    `files` say where its results are; `gone`, that it ended and they are there no more. `succeeded`
    is how many of its requests have an answer, `done` how many have their end, as far as that is
    told before the batch has its own. `prefix` is what it was created by, None where the API
    doesn't keep that. `refused` says why nothing of it was begun, "" where that isn't so; `crowded`
    that this was for want of room beside what the account has waiting already.
    """

    id: str
    count: int
    ended: bool
    created: float
    files: tuple[str, ...] = ()
    gone: bool = False
    succeeded: int = 0
    done: int = 0
    prefix: str | None = None
    refused: str = ""
    crowded: bool = False


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of one request of a batch.

    `kind` is `succeeded`, `rejected` (it will never be answered), `errored`, `canceled`, `expired`
    or `unreadable`. `body` is the answer as it is journaled where it succeeded, and the whole line
    as it came where that can't be read (`custom_id` is "" where not even that is to be found in
    it); `said` and `error` are the server's word and its kind of error where it failed.
    """

    custom_id: str
    kind: str
    body: bytes = b""
    error: str = ""
    said: str = ""


class BatchApi(Protocol):
    """The batches of a provider that is open. Its calls raise what `Provider.send` raises."""

    limits: BatchLimits

    @property
    def price(self) -> ModelPrice | None:
        """The price of requests in batches, None where it isn't known."""
        ...

    def request(self, custom_id: str, prompt: Any) -> bytes:
        """One request as it stands in a batch; `prompt` as in `Provider.send`."""
        ...

    async def create(self, prefix: str, requests: Sequence[bytes]) -> ServerBatch:
        """Send a batch whose requests' ids begin with `prefix`.

        Called again with the same prefix, it may go on from what the first call came to. Raises
        `FatalProviderError` where there are no batches or it is refused.
        """
        ...

    async def discard(self, prefix: str) -> None:
        """Take back what lies at the server for a batch that never came to be, as far as it can."""

    async def retrieve(self, batch_id: str) -> ServerBatch | None:
        """The batch as it is now; None where the account has none of this name."""
        ...

    async def created_since(self, at: float) -> list[ServerBatch]:
        """The account's batches that were created at or after `at` (POSIX), oldest first."""
        ...

    async def cancel(self, batch_id: str) -> None:
        """Ask the server to begin no further request of the batch."""

    def results(self, batch: ServerBatch) -> AsyncGenerator[list[BatchResult], None]:
        """The outcomes as they come, some at a time, in whatever order.

        Raises `ConnectionLostError` where the stream is cut: it can be read again for nothing.
        """
        ...


_TEXT = frozenset({"text"})


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider can do, by attributes that it may leave out; `capabilities` reads them.

    `parts` are the kinds of a prompt's parts that it takes. With more than `text` among them, its
    methods are given a `Prompt` (`ondine_nb.models`) instead of a `str`. With `write` only prompts
    that aren't text alone are: it is called in a thread and makes of one what `send` is given in
    its place. `fetches` are the kinds of parts that the server fetches itself, by their URL.
    `read` makes an `Answer` of a body, or raises `MalformedAnswerError`: of a Messages API answer,
    if it is left out. `clone` gives another provider like it, not open (see `Clonable`); `batches`
    makes its batches, whose calls need it open; `models` asks what models the server offers, as
    dicts. Each of these three is None where it can't be had. `media_rules` say how large the model
    looks at pictures, and what pictures and documents come to in input tokens.

    `max_concurrency` is how many requests it takes at once (None: as many as it bears, found as the
    run goes), `default_max_tokens` the `max_tokens` where none are given (None: the usual ones),
    `context_tokens` how many a prompt and its answer may have together (None: it isn't known; what
    the server's last list of models says comes first).
    `keeps_rows_apart` says whether one request may ask of several rows, `travels` whether it can
    send from another machine. `title` is what it is called in messages, its identity by default.
    `enforces_schemas` tells whether answers are held to a schema (None: it isn't known, so that a
    run with one tries it first); a provider of one's own is taken at its word.
    `unable` says in a line why it can answer nothing but what the journal has; "" where it can.
    `earlier_identities` are names under which its answers may lie in the journal, too.
    """

    parts: frozenset[str] = _TEXT
    media_rules: MediaRules = ANY_MODEL
    write: Callable[[Prompt], Any] | None = None
    fetches: frozenset[str] = frozenset()
    read: Callable[[bytes], Answer] = Answer.read
    clone: Callable[[], Provider] | None = None
    batches: Callable[[], BatchApi] | None = None
    models: Callable[[], Awaitable[list[dict[str, Any]]]] | None = None
    max_concurrency: int | None = None
    default_max_tokens: int | None = None
    context_tokens: int | None = None
    keeps_rows_apart: bool = True
    travels: bool = True
    enforces_schemas: bool | None = True
    title: str = ""
    unable: str = ""
    earlier_identities: tuple[str, ...] = ()

    @property
    def takes_text_as_str(self) -> bool:
        """Whether prompts that are text alone are given as `str`."""
        return self.parts <= _TEXT or self.write is not None


def capabilities(provider: Any) -> Capabilities:
    """What `provider` says of itself, with the usual values for what it leaves out."""
    said = {
        each.name: getattr(provider, each.name)
        for each in fields(Capabilities)
        if hasattr(provider, each.name)
    }
    for kinds in ("parts", "fetches"):
        if kinds in said:
            said[kinds] = frozenset(said[kinds])
    if "read" in said:
        said["read"] = _safely(said["read"])
    return Capabilities(**{"title": provider.identity, **said})


def _safely(read: Callable[[bytes], Answer]) -> Callable[[bytes], Answer]:
    """`read`, whose own faults are unreadable answers too: the body is paid, and is kept."""

    def reading(body: bytes) -> Answer:
        try:
            return read(body)
        except (MalformedAnswerError, JournalError):
            raise
        except Exception as error:  # a body that no reader expected: unreadable, but paid
            start = body[:60].decode("utf-8", "replace").replace("\n", " ")
            raise MalformedAnswerError(
                f"the answer can't be read ({type(error).__name__}: {error}): {start!r}",
                possibly_billed=True,
            ) from error

    return reading
