"""Pictures and documents for tests, made with Pillow or written byte by byte."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

__all__ = ["drawing", "encoded", "jpeg", "pdf", "png", "saved"]


def drawing(seed: int, size: tuple[int, int] = (48, 32), mode: str = "RGB") -> Image.Image:
    """A picture that no other seed has: its upper left corner says the seed in base 256."""
    image = Image.new("RGB", size, (40, 90, 160))
    for y in range(8):
        for x in range(8):
            image.putpixel((x, y), (seed & 255, seed >> 8 & 255, seed >> 16 & 255))
    return image.convert(mode)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """The picture as a file of this format."""
    target = io.BytesIO()
    image.save(target, form, **options)
    return target.getvalue()


def png(seed: int = 1, size: tuple[int, int] = (48, 32)) -> bytes:
    """A PNG, from which the seed can be read again."""
    return encoded(drawing(seed, size), "PNG")


def jpeg(seed: int = 1, size: tuple[int, int] = (48, 32)) -> bytes:
    """A JPEG."""
    return encoded(drawing(seed, size), "JPEG", quality=95)


def pdf(pages: int = 1) -> bytes:
    """A PDF with so many pages."""
    first, *others = (drawing(at + 1) for at in range(pages))
    return encoded(first, "PDF", save_all=True, append_images=others)


def saved(folder: Path, name: str, content: bytes) -> Path:
    """The path of a new file with this content."""
    path = folder / name
    path.write_bytes(content)
    return path
