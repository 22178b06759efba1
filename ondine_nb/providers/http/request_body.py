"""A request's body that is written before it is sent: for pictures and documents, in base64.

Such a body has megabytes. It is written in a thread and in pieces, and the loop is never held by
more than one of them: neither by base64, nor by JSON, nor by one long write to a socket.
"""

from __future__ import annotations

import asyncio
import binascii
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from ...models import MediaPart, Part

__all__ = ["MediaBlock", "RequestBody", "content_pieces"]

_AT_ONCE = 196_608  # bytes of content in one piece; divisible by 3, for base64
_DATA = "the content 5b8e41c7"
# A part's block of a request's content: of its media type, and its data as it stands in a string.
MediaBlock: TypeAlias = Callable[[MediaPart, str, str], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class RequestBody:
    """A request's JSON in pieces."""

    pieces: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """Bytes, of all pieces together."""
        return sum(map(len, self.pieces))

    @property
    def headers(self) -> dict[str, str]:
        """What tells its length: else it would go in chunks, which not every server takes."""
        return {"Content-Length": str(self.size)}

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces, with a turn of the loop for others between them."""
        for piece in self.pieces:
            yield piece
            await asyncio.sleep(0)

    def whole(self) -> bytes:
        """All of it as one; it takes its size once more."""
        return b"".join(self.pieces)


def content_pieces(parts: Iterable[Part | dict[str, Any]], block: MediaBlock) -> Iterator[bytes]:
    """The JSON of a turn's content, a list of blocks: of these parts, dicts as they are.

    Every part's bytes are loaded here, one after another: in a thread. Blank texts are left out,
    which APIs refuse as blocks. Raises `MediaError` for a part that can't be loaded.
    """
    before = b"["
    for part in parts:
        if isinstance(part, dict):
            yield before + _json(part)
        elif isinstance(part, str):
            if not part.strip():
                continue
            yield before + _json({"type": "text", "text": part})
        else:
            yield before
            yield from _media(part, block)  # type: ignore[arg-type]
        before = b","
    yield b"]" if before == b"," else b"[]"


def _media(part: MediaPart, block: MediaBlock) -> Iterator[bytes]:
    if part.url:
        yield _json(block(part, "", ""))
        return
    media_type, content = part.load()
    head, _, tail = _json(block(part, media_type, _DATA)).partition(_DATA.encode())
    yield head
    for start in range(0, len(content), _AT_ONCE):
        yield binascii.b2a_base64(content[start : start + _AT_ONCE], newline=False)
    yield tail


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
