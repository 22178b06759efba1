"""Every error that the package raises or records, in one tree.

`OndineError` is the root. `ConfigurationError` and what stands below it is raised before
anything is sent; `RowError` and below is a value, recorded for one row in `run.errors`;
`RunError` and below ends a run, with everything finished kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = [
    "AnswerError",
    "BatchCanceledError",
    "BatchErroredError",
    "BatchExpiredError",
    "BatchRequestError",
    "BatchResultMissingError",
    "BrokenFileError",
    "BudgetExceededError",
    "ChangedFileError",
    "CheckpointError",
    "ColumnError",
    "ConfigurationError",
    "ConnectionLostError",
    "CutAnswerError",
    "EmptyAnswerError",
    "EmptyFileError",
    "EvidenceMissingError",
    "FatalProviderError",
    "ForbiddenError",
    "IncompleteRunError",
    "JournalError",
    "LocalModelError",
    "MalformedAnswerError",
    "MediaError",
    "MissingFileError",
    "NoKeyError",
    "OndineError",
    "OverloadedError",
    "PromptError",
    "RateLimitedError",
    "RefusalError",
    "RejectedRequestError",
    "RowError",
    "RunError",
    "SchemaError",
    "SchemaNotMetError",
    "ServerError",
    "TimedOutError",
    "TooLargeAnswerError",
    "TooLargeFileError",
    "TooLongError",
    "TransientError",
    "UnfinishedAnswerError",
    "UnknownEncodingError",
    "UnreadAnswerError",
    "UnsupportedFileError",
    "nearest",
]


class OndineError(Exception):
    """Root of the tree. In a notebook it is shown as one line, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class ConfigurationError(OndineError, ValueError):
    """What was asked for can't be run; nothing was sent. The message names the remedy."""


class ColumnError(ConfigurationError):
    """A frame's columns don't fit: unknown, doubled, or already there."""


class PromptError(ConfigurationError):
    """A prompt template that can't be rendered over the frame."""


class SchemaError(ConfigurationError):
    """A schema that can't be read or that the API doesn't take."""


class NoKeyError(ConfigurationError):
    """There is no key for the model that was asked for, and the journal has none of the answers."""


class LocalModelError(ConfigurationError):
    """The embedded model can't run here; the message says why and what else to do."""


class CheckpointError(OndineError):
    """A checkpoint that is damaged, foreign, newer than this package, or not writable."""


class RunError(OndineError):
    """Ends a run. What was finished before it stays."""


class FatalProviderError(RunError):
    """The provider will answer no request of this run: bad key, unknown model, spent account."""


class JournalError(RunError):
    """The journal can't be read or written, so no further answer may be paid for."""


class BudgetExceededError(RunError):
    """The next request's worst case doesn't fit the budget and nothing is in flight."""


class IncompleteRunError(RunError):
    """The run came to its end, and not as `fail_above` or `require` asks.

    `result` is what it came to, an `ExecutionResult`: every answer is kept.
    """

    def __init__(self, message: str, result: Any = None) -> None:
        super().__init__(message)
        self.result: Any = result


class RowError(OndineError):
    """A failure of one row, kept as a value. `label` is its short name in views."""

    label = "failed"


class MediaError(RowError):
    """A row's picture or document can't be sent; nothing was sent of the row."""

    label = "file not sent"


class MissingFileError(MediaError):
    """There is no file at the path, or it can't be opened."""

    label = "file missing"


class EmptyFileError(MediaError):
    """The file has no bytes."""

    label = "file empty"


class BrokenFileError(MediaError):
    """The file is of a known type by its first bytes, and the rest can't be read: cut, locked."""

    label = "file broken"


class UnsupportedFileError(MediaError):
    """By its content the file is of a type that isn't sent in this place of the prompt."""

    label = "type not taken"


class TooLargeFileError(MediaError):
    """The file, or all files of the row together, are larger or more than a request may hold."""

    label = "file too large"


class ChangedFileError(MediaError):
    """The file's bytes changed between the look-up in the journal and the request."""

    label = "file changed"


class AnswerError(RowError):
    """A row failure that was paid for: an answer came, and it can't be used."""


class RefusalError(AnswerError):
    """The model refused (`stop_reason: refusal`)."""

    label = "refusal"


class EmptyAnswerError(AnswerError):
    """The answer holds no text."""

    label = "empty answer"


class UnreadAnswerError(AnswerError):
    """The answer's body isn't read, for what it is on the wire; it may have been billed."""

    possibly_billed = True


class TooLargeAnswerError(UnreadAnswerError):
    """The answer has more bytes than any answer can mean to have."""

    label = "too large"


class UnknownEncodingError(UnreadAnswerError):
    """The answer is packed in a way that nobody asked for."""

    label = "unknown encoding"


class CutAnswerError(AnswerError):
    """The answer was cut at `max_tokens`."""

    label = "cut at max_tokens"


class UnfinishedAnswerError(AnswerError):
    """The answer ended for a reason that doesn't say that it is whole (`pause_turn`, …)."""

    label = "not finished"


class SchemaNotMetError(AnswerError):
    """The answer doesn't fit the schema, after being asked again."""

    label = "schema not met"


class EvidenceMissingError(AnswerError):
    """No quote that a value rests on is in the row's text, after being asked again."""

    label = "no evidence"


class RejectedRequestError(RowError):
    """The API won't take this row's request (400, 413, 422): it is never sent again as it is."""

    label = "request rejected"


class TooLongError(RowError):
    """The row's prompt is longer than the model's context: it isn't sent."""

    label = "too long"


class ForbiddenError(RejectedRequestError):
    """403: the key may not ask this, or a gateway's filter keeps this row's text back."""

    label = "forbidden"


class BatchRequestError(RowError):
    """A request of a batch that ended without an answer; it isn't billed."""

    label = "no answer in batch"


class BatchErroredError(BatchRequestError):
    """The request failed on the server while its batch was processed."""

    label = "errored in batch"


class BatchExpiredError(BatchRequestError):
    """The batch's 24 hours were over before the request's turn came, or its results are gone."""

    label = "expired in batch"


class BatchResultMissingError(BatchRequestError):
    """The server counts the request among those that succeeded, and didn't give its result."""

    label = "result not given"


class BatchCanceledError(BatchRequestError):
    """The batch was canceled before the request's turn came."""

    label = "canceled in batch"


class TransientError(RowError):
    """A failed attempt that is worth another one; a row failure when the attempts are used up.

    `retry_after` is what the server asked for, in seconds; `possibly_billed` says that the request
    may have been answered and charged on the way; `unreachable` that no connection came about;
    `headers` are the answer's, by lower-case name. `takes_too_long` says of a kind that it would
    most likely fail so again, unless less were asked at once.
    """

    takes_too_long = False

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        possibly_billed: bool = False,
        unreachable: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.headers: Mapping[str, str] = headers or {}
        self.retry_after = retry_after
        self.possibly_billed = possibly_billed
        self.unreachable = unreachable


class RateLimitedError(TransientError):
    """429 until the last attempt."""

    label = "rate limited"


class OverloadedError(TransientError):
    """529 until the last attempt."""

    label = "overloaded"


class ServerError(TransientError):
    """5xx, 408 or 409 until the last attempt."""

    label = "server error"


class TimedOutError(TransientError):
    """No answer within the time-out, until the last attempt."""

    label = "timed out"
    takes_too_long = True


class ConnectionLostError(TransientError):
    """The connection failed or was cut, until the last attempt."""

    label = "connection lost"


class MalformedAnswerError(TransientError):
    """The answer's body can't be read as a message, until the last attempt."""

    label = "unreadable answer"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that is closest to `name` in spelling, or None."""
    from difflib import get_close_matches  # a millisecond, for what is rarely asked

    folded = {str(known).casefold(): str(known) for known in names}
    found = get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return folded[found[0]] if found else None
