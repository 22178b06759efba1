"""Pictures and documents as the server gets them: what it checks, what it sees, what it keeps."""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

__all__ = ["Seen", "answer_seen", "media_problem", "seen_in", "sign_of", "without_media"]

Body = Mapping[str, Any]

MOST_PICTURE_BYTES, MOST_PIXELS, MOST_PARTS = 5 * 1024 * 1024, 8_000, 100
MAGIC = {
    "image/png": b"\x89PNG",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF8",
    "image/webp": b"RIFF",
    "application/pdf": b"%PDF-",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """One picture or document of a request, in its order: `content` is "" bytes of a URL."""

    kind: str
    media_type: str
    content: bytes = b""
    url: str = ""

    @property
    def sha256(self) -> str:
        """The hash of its bytes, or of its URL."""
        return sha256(self.content or self.url.encode()).hexdigest()


def seen_in(body: Any) -> list[Seen]:
    """The pictures and documents of all turns, in their order, in either API's form.

    Raises ValueError for one that is in none.
    """
    return [_seen(part) for part in _parts(body)]


def media_problem(body: Body) -> str | None:
    """Why the API would refuse what the body shows, or None: each part is looked into."""
    try:
        seen = seen_in(body)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"messages: a part can't be read ({type(error).__name__}: {error})"
    if len(seen) > MOST_PARTS:
        return f"messages: {len(seen)} images, and {MOST_PARTS} are allowed"
    return next(filter(None, map(_problem, seen)), None)


def answer_seen(body: Any) -> str:
    """What is seen: the colour of each picture's corner as a number, as `drawing` has put it there.

    By a schema, the first number in its first field and their count in the second.
    """
    numbers = [_number(seen) for seen in seen_in(body) if seen.kind == "image" and seen.content]
    wanted = (body.get("output_config") or {}).get("format")
    if wanted is None:
        return "seen: " + " ".join(map(str, numbers))
    values = [numbers[0], len(numbers)]
    return json.dumps(dict(zip(wanted["schema"]["properties"], values, strict=False)))


def _number(seen: Seen) -> int:
    from PIL import Image

    with Image.open(io.BytesIO(seen.content)) as image:
        red, green, blue = image.convert("RGB").getpixel((2, 2))  # type: ignore[misc]
    return red + 256 * green + 65_536 * blue


def sign_of(part: Any) -> str:
    """A word for a part in the text of a prompt, by its content: two pictures, two prompts."""
    try:
        seen = _seen(part)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return f"[{seen.kind} {seen.sha256[:16]}]"


def without_media(body: Body) -> dict[str, Any]:
    """The body with a hash in the place of each part's bytes: what is kept of a large one."""
    return {**body, "messages": [_light(turn) for turn in body["messages"]]}


def _parts(body: Any) -> Iterator[Any]:
    for turn in body["messages"]:
        content = turn["content"]
        for part in content if isinstance(content, list) else ():
            if part["type"] != "text":
                yield part


def _seen(part: Any) -> Seen:
    kind = part["type"]
    if kind in ("image", "document"):
        source = part["source"]
        if source["type"] == "url":
            return Seen(kind, "", url=_web(source["url"]))
        if source["type"] != "base64" or part.keys() - {"type", "source", "cache_control"}:
            raise ValueError(f"source.type: {source['type']}")
        return Seen(kind, source["media_type"], _bytes(source["data"]))
    if kind == "image_url":
        return _of_url("image", part["image_url"]["url"])
    if kind == "file":
        if not part["file"]["filename"]:
            raise ValueError("file.filename is missing")
        return _of_url("document", part["file"]["file_data"])
    raise ValueError(f"a part of type {kind!r}")


def _of_url(kind: str, url: str) -> Seen:
    if not url.startswith("data:"):
        return Seen(kind, "", url=_web(url))
    media_type, mark, data = url.removeprefix("data:").partition(";base64,")
    if not mark:
        raise ValueError("a data URL without base64")
    return Seen(kind, media_type, _bytes(data))


def _web(url: str) -> str:
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url[:40]!r} is no URL")
    return url


def _bytes(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ValueError(f"data: {error}") from None


def _problem(seen: Seen) -> str | None:
    if seen.url:
        return None
    magic = MAGIC.get(seen.media_type)
    if magic is None or (seen.kind == "document") != (seen.media_type == "application/pdf"):
        return f"{seen.kind} of type {seen.media_type!r} is not supported"
    if magic not in seen.content[:1024]:
        return f"the content is no {seen.media_type}"
    return None if seen.kind == "document" else _picture_problem(seen)


def _picture_problem(seen: Seen) -> str | None:
    from PIL import Image

    if len(seen.content) > MOST_PICTURE_BYTES:
        return f"image exceeds 5 MB: {len(seen.content)} bytes"
    try:
        with Image.open(io.BytesIO(seen.content)) as image:
            size = image.size
            image.load()
    except Exception as error:  # Pillow raises whatever a broken file leads it to
        return f"Could not process image ({error})"
    return f"image of {size} pixels is too large" if max(size) > MOST_PIXELS else None


def _light(turn: Any) -> Any:
    content = turn["content"]
    if not isinstance(content, list):
        return turn
    return {
        **turn,
        "content": [
            part if part["type"] == "text" else {"type": "text", "text": sign_of(part)}
            for part in content
        ],
    }
