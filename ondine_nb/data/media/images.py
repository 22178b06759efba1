"""Scaling a picture to the size that a model looks at, by Pillow; what fits goes byte for byte.

Pillow is needed only where a picture has to be changed: one that is larger than the model looks at,
one with more bytes than a request takes, one that moves, of which the first frame is sent.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ...errors import BrokenFileError, ConfigurationError, TooLargeFileError
from ...models import PictureLimits
from .header import type_name
from .needs import needs_extra

__all__ = ["Picture", "fitted", "scaled_size"]

MOST_PIXELS = 178_956_970  # decoded at once: 716 MB with four channels
_QUALITIES = (90, 75, 50)
_JPEG, _PNG, _GIF, _WEBP = "image/jpeg", "image/png", "image/gif", "image/webp"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's bytes, media type, width and height in pixels."""

    content: bytes
    media_type: str
    width: int
    height: int


def scaled_size(picture: Picture, limits: PictureLimits) -> tuple[int, int] | None:
    """The size that a picture is sent in; None where it is sent as it is.

    By its head alone: nothing is decoded.
    """
    size = limits.fit(picture.width, picture.height)
    fits = size == (picture.width, picture.height)
    if fits and len(picture.content) <= limits.most_bytes and not _moves(picture):
        return None
    return size


def fitted(picture: Picture, limits: PictureLimits) -> Picture:
    """The picture as it is sent: the same, or scaled down, packed again, its first frame.

    One that is changed stands upright by its EXIF orientation. Raises `BrokenFileError` where it
    can't be decoded, `TooLargeFileError` where it has too many pixels or bytes for that, and
    `ConfigurationError` where Pillow is needed and isn't installed.
    """
    size = scaled_size(picture, limits)
    if size is None:
        return picture
    check_pixels(picture.width, picture.height)
    try:
        return _packed(_decoded(picture, size), size, picture.media_type, limits.most_bytes)
    except (TooLargeFileError, ConfigurationError, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins raise whatever a broken file leads them to
        name = type_name(picture.media_type)
        raise BrokenFileError(f"is a {name} that can't be decoded: {error}") from error


def check_pixels(width: int, height: int) -> None:
    """Raises `TooLargeFileError` for more pixels than are decoded here."""
    if width * height > MOST_PIXELS:
        raise TooLargeFileError(
            f"is a picture of {width:,} × {height:,} pixels, more than the {MOST_PIXELS:,} that "
            "are decoded here: make it smaller"
        )


def _decoded(picture: Picture, size: tuple[int, int]) -> Any:
    """The first frame, upright, in grey or RGB, with alpha where it has any.

    `size` is what it is scaled to later: a JPEG is decoded no larger than that needs.
    """
    with needs_extra("scaling a picture down"):
        from PIL import Image

    Image.init()
    # By its plugin, not by `Image.open`, which warns of sizes that were judged here.
    open_as: Callable[..., Any] = Image.OPEN[type_name(picture.media_type).upper()][0]
    image = open_as(io.BytesIO(picture.content), "")
    check_pixels(*image.size)  # it may say two sizes
    if picture.media_type == _JPEG:
        image.draft(image.mode, size)
    image.load()
    return _upright(image)


def _upright(image: Any) -> Any:
    from PIL import ImageOps

    return _plain(ImageOps.exif_transpose(image))


def _plain(image: Any) -> Any:
    """The same in 8 bits of grey or RGB, with alpha where it has any."""
    mode = image.mode
    if mode in ("L", "RGB", "LA", "RGBA"):
        return image
    if mode.startswith("I"):  # 16 bits of grey: converting alone would clip them
        grey = image.convert("I")
        deep = mode != "I" or grey.getextrema()[1] > 255
        image = (grey.point(lambda value: value * (1 / 256)) if deep else grey).convert("L")
    elif mode in ("1", "F"):
        image = image.convert("L")
    else:
        has_alpha = mode in ("PA", "La", "RGBa") or "transparency" in image.info
        image = image.convert("RGBA" if has_alpha else "RGB")
    image.info.pop("icc_profile", None)  # it is about other channels
    return image


def _packed(image: Any, size: tuple[int, int], kind: str, most_bytes: int) -> Picture:
    """`image` at `size`: a PNG, or a JPEG where its file was lossy or a PNG is too large."""
    from PIL import Image

    if (image.width > image.height) != (size[0] > size[1]):  # it was turned upright
        size = size[::-1]
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    if kind not in (_JPEG, _WEBP) or image.mode in ("LA", "RGBA"):
        content = _saved(image, "PNG")
        if len(content) <= most_bytes:
            return Picture(content, _PNG, *image.size)
    image = _opaque(image)
    for quality in _QUALITIES:
        content = _saved(image, "JPEG", quality=quality)
        if len(content) <= most_bytes:
            return Picture(content, _JPEG, *image.size)
    raise TooLargeFileError(
        f"is a picture of {len(content):,} bytes even when packed: give a smaller --image-px"
    )


def _opaque(image: Any) -> Any:
    from PIL import Image

    if image.mode in ("L", "RGB"):
        return image
    page = Image.new("RGBA", image.size, "white")
    page.alpha_composite(image.convert("RGBA"))
    return page.convert("RGB")


def _saved(image: Any, form: str, **how: Any) -> bytes:
    target = io.BytesIO()
    profile = image.info.get("icc_profile")
    image.save(target, form, **how, **({"icc_profile": profile} if profile else {}))
    return target.getvalue()


# -- does it move?


def _moves(picture: Picture) -> bool:
    """Whether there is more than one frame: models are shown the first."""
    if picture.media_type == _WEBP:
        return picture.content[12:16] == b"VP8X" and bool(picture.content[20] & 2)
    if picture.media_type != _GIF:
        return False
    frames = 0
    for sign in _gif_blocks(picture.content):
        frames += sign == 0x2C
        if frames > 1:
            return True
    return False


def _gif_blocks(content: bytes) -> Iterator[int]:
    """The sign of each block: 0x21 an extension, 0x2C a frame; as far as they can be read."""
    at = 13 + _palette(content[10])
    while at < len(content) and (sign := content[at]) in (0x21, 0x2C):
        yield sign
        if sign == 0x2C and at + 9 < len(content):
            at += 9 + _palette(content[at + 9])
        at += 2
        while at < len(content) and (length := content[at]):
            at += 1 + length
        at += 1


def _palette(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0
