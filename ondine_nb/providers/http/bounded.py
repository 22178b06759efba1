"""Answers are read up to a ceiling, in bytes on the wire and unpacked, and from one host only."""

from __future__ import annotations

import sys
import zlib
from collections.abc import AsyncIterator
from typing import Any

from ...errors import FatalProviderError, TooLargeAnswerError, UnknownEncodingError
from ..base import without_login

__all__ = ["ENCODINGS", "MOST_BYTES", "Unpacking", "check_redirect", "guard"]

MOST_BYTES = 32_000_000  # the longest answers that there are have under a hundredth of that
# Paths by which a model is asked.
_ANSWERED = ("/v1/messages", "/chat/completions", "/invoke", ":rawPredict")
ENCODINGS = "gzip, deflate"  # what can be unpacked a piece at a time, so that no piece bursts it


class Unpacking:
    """Undoes a content encoding piece by piece.

    Raises `TooLargeAnswerError` past the ceiling, at once `UnknownEncodingError`.
    """

    def __init__(self, encoding: str | None, most: int = MOST_BYTES) -> None:
        self._most, self._packed, self._size = most, 0, 0
        self._encoding = (encoding or "identity").strip().lower()
        known = {"gzip": 31, "x-gzip": 31, "deflate": 15}
        self._bits = known.get(self._encoding)
        if self._bits is None and self._encoding != "identity":
            raise UnknownEncodingError(
                f"the answer comes in the encoding '{self._encoding[:40]}', and only {ENCODINGS} "
                "were asked for: see what stands between here and the server"
            )
        self._inflate: Any = None if self._bits is None else zlib.decompressobj(self._bits)

    def feed(self, piece: bytes) -> bytes:
        """The content in one more piece of the body."""
        self._packed += len(piece)
        self._check(self._packed, "on the wire")
        if self._inflate is None:
            return piece
        content = self._inflated(piece)
        self._size += len(content)
        self._check(self._size, "unpacked")
        return content

    def _inflated(self, piece: bytes) -> bytes:
        room = self._most - self._size + 1
        first = not self._size and self._packed == len(piece)
        try:
            return bytes(self._inflate.decompress(piece, room))
        except zlib.error:
            if self._encoding != "deflate" or not first:
                raise
            self._inflate = zlib.decompressobj(-15)  # some servers send it without its head
            return bytes(self._inflate.decompress(piece, room))

    def _check(self, size: int, where: str) -> None:
        if size > self._most:
            raise TooLargeAnswerError(
                f"the answer has more than {self._most:,} bytes {where}, so it isn't read"
            )


def check_redirect(response: Any) -> None:
    """Raises `FatalProviderError` where it leads to another host: a prompt is sent to no other."""
    if not response.has_redirect_location:
        return
    base = response.request.url
    target = base.join(response.headers["location"])
    upgrade = (base.scheme, target.scheme) == ("http", "https") and base.host == target.host
    same = (base.scheme, base.host, base.port) == (target.scheme, target.host, target.port)
    if not (same or (upgrade and target.port is None)):
        shown = without_login(str(target.copy_with(query=None)))
        raise FatalProviderError(
            f"{base.host} redirects to {shown[:200]}, and prompts are sent to no other host than "
            "the one that was named: give that as --base-url if it is meant"
        )


async def guard(response: Any) -> None:
    """Checks each response of an SDK's client before its body is read."""
    check_redirect(response)
    if response.request.method == "POST" and response.request.url.path.endswith(_ANSWERED):
        encoding = response.headers.pop("content-encoding", None)
        response.stream = _bounded(response.stream, Unpacking(encoding))


def _bounded(stream: Any, unpacking: Unpacking) -> Any:
    """The stream with its content unpacked, up to the ceiling."""
    kind = sys.modules["httpx2"].AsyncByteStream

    class Bounded(kind):  # type: ignore[misc, valid-type]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for piece in stream:
                yield unpacking.feed(piece)

        async def aclose(self) -> None:
            await stream.aclose()

    return Bounded()
