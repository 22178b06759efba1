"""What a file is by its content: media type, and a picture's width and height from its header.

Names don't count: a text file may be called `photo.png`. Only the four picture types that every
model takes have their size read here, and only so far that a file which was cut is found out;
nothing is decoded, so no library is needed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from ...errors import BrokenFileError

__all__ = ["PDF", "PICTURES", "SVG", "TEXT", "media_type_of", "picture_size", "type_name"]

PDF, TEXT, SVG = "application/pdf", "text/plain", "image/svg+xml"
_UNKNOWN = "application/octet-stream"
_PNG, _JPEG, _GIF, _WEBP = "image/png", "image/jpeg", "image/gif", "image/webp"
_NAMES = {
    _PNG: "PNG",
    _JPEG: "JPEG",
    _GIF: "GIF",
    _WEBP: "WebP",
    PDF: "PDF",
    SVG: "SVG",
    TEXT: "text",
    "image/avif": "AVIF",
    "image/heic": "HEIC",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
    "application/zip": "ZIP (or an office file)",
    _UNKNOWN: "unknown",
}
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", _PNG),
    (b"\xff\xd8\xff", _JPEG),
    (b"GIF87a", _GIF),
    (b"GIF89a", _GIF),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"PK\3\4", "application/zip"),
)
_BRANDS = {b"avif": "image/avif", b"avis": "image/avif"}
_BRANDS |= dict.fromkeys([b"heic", b"heix", b"mif1", b"msf1", b"hevc"], "image/heic")
_PDF_WITHIN = 1_024  # a PDF may begin with something else, such as a mail's header


def media_type_of(content: bytes) -> str:
    """The media type of these bytes; `application/octet-stream` where it isn't known."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _WEBP
    if content[4:8] == b"ftyp":
        return _BRANDS.get(content[8:12], _UNKNOWN)
    for magic, media_type in _MAGIC:
        if content.startswith(magic) and (magic != b"BM" or content[6:10] == b"\0\0\0\0"):
            return media_type
    if b"%PDF-" in content[:_PDF_WITHIN]:
        return PDF
    if b"\0" in content:
        return _UNKNOWN
    try:
        content.decode()
    except UnicodeDecodeError:
        return _UNKNOWN
    return SVG if b"<svg" in content[:_PDF_WITHIN].lower() else TEXT


def type_name(media_type: str) -> str:
    """What people call it: `JPEG`."""
    return _NAMES.get(media_type, media_type)


def picture_size(content: bytes, media_type: str) -> tuple[int, int]:
    """Width and height in pixels of a picture of one of the types in `PICTURES`.

    Raises `BrokenFileError` where the header or the end of the file is missing.
    """
    try:
        width, height = PICTURES[media_type](content)
    except (struct.error, IndexError, ValueError):
        width = height = 0
    if not (width and height):
        raise BrokenFileError(f"begins as {type_name(media_type)} and is cut or broken")
    return width, height


def _png(content: bytes) -> tuple[int, int]:
    whole = content[12:16] == b"IHDR" and content.rfind(b"IEND") > 0
    return struct.unpack_from(">II", content, 16) if whole else (0, 0)


def _gif(content: bytes) -> tuple[int, int]:
    return struct.unpack_from("<HH", content, 6) if len(content) > 13 else (0, 0)


def _webp(content: bytes) -> tuple[int, int]:
    if struct.unpack_from("<I", content, 4)[0] + 8 > len(content) + 1:
        return 0, 0
    chunk, data = content[12:16], content[20:30]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(data[4:7], "little"), 1 + int.from_bytes(data[7:10], "little")
    if chunk == b"VP8L" and data[0] == 0x2F:
        bits = int.from_bytes(data[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 " and data[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 6)
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


# Start of frame: baseline, progressive and their kin, without the tables between them.
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length


def _jpeg(content: bytes) -> tuple[int, int]:
    at, size = 2, (0, 0)
    while content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _ALONE:
            at += 2
            continue
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", content, at + 5)
            size = (width, height)
        if marker == 0xDA:  # the picture itself: its end is behind it, a thumbnail's is before
            return size if content.rfind(b"\xff\xd9", at) > 0 else (0, 0)
        at += 2 + struct.unpack_from(">H", content, at + 2)[0]
    return 0, 0


PICTURES: dict[str, Callable[[bytes], tuple[int, int]]] = {
    _PNG: _png,
    _JPEG: _jpeg,
    _GIF: _gif,
    _WEBP: _webp,
}
