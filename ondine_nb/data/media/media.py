"""`Media`: one picture or document of a row, as a part of its prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ...models import PictureLimits
from ...text import one_line

__all__ = ["Measures", "Media"]

_UNMEASURED = 1_000_000_000  # tokens: what nobody has measured fits no budget
_SHOWN = 60  # characters of a name


class Measures(Protocol):
    """How a model takes pictures and documents: how large, and what they come to in input tokens.

    Sizes are pixels, None where they aren't known; so are pages.
    """

    @property
    def limits(self) -> PictureLimits:
        """The largest picture that it looks at as it is."""
        ...

    def picture(self, width: int | None, height: int | None) -> int:
        """The input tokens that a picture likely comes to."""
        ...

    def most_of_picture(self, width: int | None, height: int | None) -> int:
        """The input tokens that a picture can't pass."""
        ...

    def document(self, pages: int | None, text_bytes: int) -> int:
        """The input tokens that a document likely comes to."""
        ...

    def most_of_document(self, pages: int | None, text_bytes: int) -> int:
        """The input tokens that a document can't pass."""
        ...


@dataclass(frozen=True, slots=True)
class Media:
    """A picture (`kind` "image") or a PDF ("document") in a prompt; its bytes stay where they are.

    `sha256` is that of the file's bytes, or of the pixels of what is no file; "" of a `url` that
    the server fetches. `media_type`, `length` (bytes), `width` and `height` (px) are the file's,
    None or 0 where they aren't known; `pages` and `text_bytes` (UTF-8) those of a document.
    `scaling` says in what way the bytes are changed before they are sent, "" where they go as they
    are. `size` is a bound on its input tokens, `likely` about how many they are. `name` is for
    views only: neither it nor a path is sent, or in a key.
    """

    kind: str
    media_type: str
    sha256: str = ""
    length: int = 0
    width: int | None = None
    height: int | None = None
    pages: int | None = None
    text_bytes: int = 0
    url: str = ""
    scaling: str = ""
    name: str = field(default="", compare=False)
    size: int = field(default=_UNMEASURED, compare=False)
    likely: int = field(default=0, compare=False)
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
    def is_measured(self) -> bool:
        """Whether size or pages are known, and its tokens by a rule; of a URL they aren't."""
        return bool(self.width and self.height) if self.kind == "image" else self.pages is not None

    @property
    def text(self) -> str:
        """A few words for it in views: `[image photo.png, 800 × 600]`."""
        name = one_line(self.name or self.url, _SHOWN)
        size = f"{self.width} × {self.height}" if self.width and self.height else ""
        if self.pages:
            size = "1 page" if self.pages == 1 else f"{self.pages} pages"
        what = "image" if self.kind == "image" else "PDF"
        return f"[{', '.join(filter(None, [f'{what} {name}'.strip(), size]))}]"
