"""`Media`: one picture or document of a row, as a part of its prompt."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from ...text import one_line

__all__ = ["Media"]

_MOST_PICTURE_TOKENS = 50_000  # of a picture whose size isn't known: more than any rule comes to
_MOST_PAGES, _PAGE_TOKENS = 600, 8_000
_SHOWN = 60  # characters of a name


@dataclass(frozen=True, slots=True)
class Media:
    """A picture (`kind` "image") or a PDF ("document") in a prompt; its bytes stay where they are.

    `sha256` is that of the file's bytes, or of the pixels of what is no file; "" of a `url` that
    the server fetches. `media_type`, `length` (bytes), `width` and `height` (px) are the file's,
    None or 0 where they aren't known; `pages` those of a document. `scaling` says in what way the
    bytes are changed before they are sent, "" where they go as they are. `name` is for views only:
    neither it nor a path is sent, or in a key.
    """

    kind: str
    media_type: str
    sha256: str = ""
    length: int = 0
    width: int | None = None
    height: int | None = None
    pages: int | None = None
    url: str = ""
    scaling: str = ""
    name: str = field(default="", compare=False)
    loads: Callable[[Media], tuple[str, bytes]] | None = field(
        default=None, compare=False, repr=False
    )

    def load(self) -> tuple[str, bytes]:
        """Media type and bytes to send, read (and scaled) now: call it in a thread.

        Raises `MediaError` where they are gone, or aren't those that the prompt was made with.
        """
        if self.loads is None:
            raise ValueError(f"{self.text} has no bytes: {self.url or 'nobody loads it'}")
        return self.loads(self)

    @property
    def key_bytes(self) -> bytes:
        """What decides the answer: the content's hash and the scaling, or the URL."""
        return f"url:{self.url}".encode() if self.url else f"{self.sha256};{self.scaling}".encode()

    @property
    def size(self) -> int:
        """A bound on its input tokens, by the largest of the rules that are known."""
        if self.kind == "document":
            return (self.pages or _MOST_PAGES) * _PAGE_TOKENS
        if not (self.width and self.height):
            return _MOST_PICTURE_TOKENS
        pixels = self.width * self.height
        tiles = math.ceil(self.width / 512) * math.ceil(self.height / 512)
        return max(4_784, pixels // 750, pixels // 256, 2_833 + 5_667 * min(tiles, 8))

    @property
    def text(self) -> str:
        """A few words for it in views: `[image photo.png, 800 × 600]`."""
        name = one_line(self.name or self.url, _SHOWN)
        size = f"{self.width} × {self.height}" if self.width and self.height else ""
        if self.pages:
            size = "1 page" if self.pages == 1 else f"{self.pages} pages"
        what = "image" if self.kind == "image" else "PDF"
        return f"[{', '.join(filter(None, [f'{what} {name}'.strip(), size]))}]"
