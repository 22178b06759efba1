"""What the server bills for pictures and pages: by a rule of its own, as they came.

A picture is billed by squares of 28 pixels, scaled down first to what the model looks at; a page by
its text, a token for every three bytes, and by the picture of it. Nothing of this is the package's.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

__all__ = ["billed_size", "block_tokens", "page_tokens", "picture_tokens"]

Body = Mapping[str, Any]

CHARS_A_TOKEN = 4
_LARGEST, _MOST_TOKENS = 2_576, 4_784
_PAGE = 2_300
_UNSEEN = 1_600  # a picture that the server fetches
_PAGES = re.compile(rb"/Type\s*/Page(?![s\w])")


def picture_tokens(width: int, height: int) -> int:
    """The tokens of a picture."""
    share = min(1.0, _LARGEST / max(width, height))
    while True:
        tokens = math.ceil(width * share / 28) * math.ceil(height * share / 28)
        if tokens <= _MOST_TOKENS:
            return tokens
        share *= 0.99


def page_tokens(content: bytes) -> int:
    """The tokens of all pages of a PDF."""
    from ondine_nb.data.media.pdf import pdf_of  # for the letters only: there is one lock

    return _PAGE * len(_PAGES.findall(content)) + pdf_of(content).text_bytes // 3


def billed_size(body: Body, size: int) -> int:
    """The bytes that a request of `size` bytes is billed as, its pictures and pages by the rule."""
    for turn in body["messages"]:
        for part in turn["content"] if isinstance(turn["content"], list) else ():
            held, tokens = _media(part)
            size += CHARS_A_TOKEN * tokens - held
    return max(1, size)


def block_tokens(block: Body) -> int:
    """The tokens of a picture or document; 0 of a text."""
    return _media(block)[1]


def _media(part: Body) -> tuple[int, int]:
    """The bytes that a picture or document takes in the body, in either API, and its tokens."""
    kind = part.get("type")
    if kind in ("image", "document"):
        return _told(part["source"].get("data", ""), is_page=kind == "document")
    if kind == "image_url":
        return _told(_behind(part["image_url"]["url"]), is_page=False)
    if kind == "file":
        return _told(_behind(part["file"]["file_data"]), is_page=True)
    return 0, 0


def _behind(url: str) -> str:
    return url.partition(";base64,")[2]


@lru_cache(64)  # what all requests begin with
def _told(data: str, *, is_page: bool) -> tuple[int, int]:
    if not data:
        return 0, _PAGE if is_page else _UNSEEN
    content = base64.b64decode(data)
    if is_page:
        return len(data), page_tokens(content)
    from PIL import Image

    return len(data), picture_tokens(*Image.open(io.BytesIO(content)).size)
