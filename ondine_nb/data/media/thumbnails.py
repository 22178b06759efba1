"""Thumbnails: a picture's bytes become a small JPEG that a page can show without any risk.

Whatever a file holds, a page gets nothing of it but pixels: they are decoded here and encoded anew.
Pillow does it (extra `media`). Without it there is no thumbnail.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from ...text import is_missing
from .header import PDF, media_type_of
from .pdf import page_as_picture

__all__ = ["Thumbnail", "cell_name", "thumbnail"]

FORMATS = ("JPEG", "PNG", "GIF", "WEBP")  # that Pillow is asked to read: those that models take
MOST_PIXELS = 100_000_000  # of a picture that is decoded only to be looked at
SMALL = 200  # px: up to here a picture is a thumbnail, and every byte counts
PAPER = "white"  # behind what is transparent


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture for a view: JPEG, with its width and height in px."""

    content: bytes
    width: int
    height: int

    @property
    def url(self) -> str:
        """It as a `data:` URL."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.content).decode()}"


def thumbnail(content: bytes, side: int, page: int = 0) -> Thumbnail:
    """The picture in `content` (JPEG, PNG, GIF or WebP; its first frame), turned as its EXIF says,
    or of a PDF the `page` (from 0), with at most `side` px to a side. No picture is made larger.

    Takes time (10 to 300 ms for 12 megapixels) and no lock: call it from a thread. Raises
    ImportError without Pillow, and ValueError, in a line, for what can't be decoded.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if media_type_of(content) == PDF:
        content = page_as_picture(content, page + 1, side)
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{image.width:,} × {image.height:,} px are too many to be shown")
            image.draft("RGB", (side, side))  # a JPEG is decoded at a half, a quarter, an eighth
            exif = image.info.get("exif", b"")
            small: Any = image if image.mode in ("RGB", "L", "CMYK") else _plain(image)
            small.thumbnail((side, side))
            small.info["exif"] = exif
            turned = _plain(ImageOps.exif_transpose(small))
    except UnidentifiedImageError:
        raise ValueError("this is no picture that can be shown") from None
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"the picture can't be decoded: {error}") from None
    made = BytesIO()
    turned.save(made, "JPEG", quality=72 if side <= SMALL else 85, optimize=side <= SMALL, exif=b"")
    return Thumbnail(made.getvalue(), turned.width, turned.height)


def _plain(image: Any) -> Any:
    """The pixels as 8-bit RGB, on paper where they are transparent."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits: of what is there the darkest is black, not of 65,536
        low, high = image.getextrema()
        scale = 255 / max(1, high - low)
        return image.point(lambda it: it * scale - low * scale).convert("L").convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        shown = image.convert("RGBA")
        paper = Image.new("RGB", shown.size, PAPER)
        paper.paste(shown, mask=shown.getchannel("A"))
        return paper
    return image.convert("RGB")


def cell_name(value: Any) -> str:
    """What a media cell is called in a table, without a look into it: a path, `2,048 bytes`."""
    if is_missing(value):
        return ""
    if isinstance(value, list | tuple):
        return " · ".join(filter(None, map(cell_name, value)))
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value):,} bytes"
    if isinstance(value, Mapping):
        return cell_name(value.get("path") or value.get("bytes"))
    if isinstance(value, str | os.PathLike):
        text = os.fsdecode(value)
        return text if not text.startswith("data:") else f"{text.partition(',')[0]},…"
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and len(shape) > 1:
        return f"{shape[1]:,} × {shape[0]:,} px"
    if hasattr(value, "width") and hasattr(value, "height"):
        return f"{value.width:,} × {value.height:,} px"
    return type(value).__name__
