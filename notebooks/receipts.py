"""Receipts drawn with Pillow, and read again from their pixels.

    drawn = receipts.draw(24, "photos")   # a frame: the photo's path, and what stands on it

`read` is what the practice server has in the place of a model's eyes: it compares each cell of the
grid with the letters of the font. So it reads what is in the picture, and nothing else: where ink
is faded or coffee was spilled it sees what is left of it.
"""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

__all__ = ["draw", "read"]

SCALE = 3  # pixels of the photo for one of the font
WIDE, HIGH = 6, 13  # of a letter's cell, in pixels of the font
MARGIN, COLUMNS = 12, 30
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,:&*-'"
DARK = 110  # from 0, black, to 255: what counts as ink
SHOPS = {
    "Kettle & Crumb": [("Rye loaf", 4.20), ("Cinnamon bun", 2.80), ("Oat cookie", 1.90)],
    "Hafen Hardware": [("Wood screws", 6.45), ("Masking tape", 3.10), ("Sandpaper", 2.25)],
    "Blue Door Books": [("Paperback", 11.90), ("Notebook", 7.50), ("Postcard", 1.40)],
    "Corner Pharmacy": [("Plasters", 3.95), ("Throat drops", 5.60), ("Hand cream", 8.20)],
    "Orchard Grocer": [("Apples 1 kg", 3.30), ("Goat cheese", 5.75), ("Olives", 4.10)],
}
CURRENCIES = ("EUR", "GBP", "CHF")


def draw(rows: int, folder: str, seed: int = 7) -> pd.DataFrame:
    """Draws `rows` receipts into `folder`. Gives a frame with the path of each (`photo`) and what
    stands on it: `shop day items total currency paid`.
    """
    Path(folder).mkdir(exist_ok=True)
    chance = random.Random(seed)  # noqa: S311 - no secret
    drawn = []
    for number in range(1, rows + 1):
        told, lines = _receipt(chance)
        path = f"{folder}/receipt {number:02}.jpg"
        _photo(lines, chance, damage=number % 6 == 0).save(path, quality=90)
        drawn.append({"photo": path, **told})
    return pd.DataFrame(drawn)


def _receipt(chance: random.Random) -> tuple[dict[str, Any], list[str]]:
    shop = chance.choice(list(SHOPS))
    currency, paid = chance.choice(CURRENCIES), chance.choice(["card", "cash"])
    day = pd.Timestamp(2026, chance.randint(1, 11), chance.randint(1, 28))
    lines, total, items = [shop, f"Date: {day:%d.%m.%Y}", "-" * COLUMNS], 0.0, 0
    for name, price in chance.sample(SHOPS[shop], chance.randint(1, 3)):
        count = chance.randint(1, 3)
        items, total = items + count, total + count * price
        lines.append(_spread(f"{count} {name}", f"{count * price:.2f}"))
    total = round(total, 2)
    lines += ["-" * COLUMNS, _spread(f"TOTAL {currency}", f"{total:.2f}"), f"Paid by {paid}"]
    told = {"shop": shop, "day": day, "items": items, "total": total, "currency": currency}
    return {**told, "paid": paid}, [*lines, "Thank you"]


def _spread(left: str, right: str) -> str:
    return left.ljust(COLUMNS - len(right)) + right


def _photo(lines: list[str], chance: random.Random, damage: bool) -> Image.Image:
    """Black on paper that isn't quite white; where there is `damage`, with a spot of coffee."""
    size = 2 * MARGIN + WIDE * COLUMNS, 2 * MARGIN + HIGH * len(lines)
    sheet = Image.new("L", size, 255)
    pen = ImageDraw.Draw(sheet)
    for row, line in enumerate(lines):
        for column, letter in enumerate(line):
            place = MARGIN + WIDE * column, MARGIN + HIGH * row
            pen.text(place, letter, fill=0, font=_font())
    photo = sheet.resize((SCALE * size[0], SCALE * size[1]), Image.Resampling.NEAREST)
    pixels = numpy.asarray(photo, dtype=float)
    grain = numpy.random.default_rng(chance.randrange(2**31)).normal(0, 9, pixels.shape)
    paper = (pixels / 255 * 195 + 45 + grain).clip(0, 255).astype("u1")
    found = Image.fromarray(paper).convert("RGB")
    if damage:
        bottom = SCALE * (MARGIN + HIGH * (len(lines) - 3))
        left = SCALE * (MARGIN + WIDE * chance.randint(23, 26))
        spot = left, bottom - 12, left + 70, bottom + 46
        ImageDraw.Draw(found).ellipse(spot, fill=(92, 58, 33), outline=(70, 42, 22), width=4)
    return found


def read(photo: Image.Image) -> str:
    """The lines of a receipt, letter by letter, from its pixels; "?" where none fits."""
    grey = numpy.asarray(photo.convert("L"), dtype=float)
    high, wide = grey.shape[0] // SCALE, grey.shape[1] // SCALE
    cells = grey[: high * SCALE, : wide * SCALE].reshape(high, SCALE, wide, SCALE)
    ink = cells.mean(axis=(1, 3)) < DARK
    lines = []
    for top in range(MARGIN, high - MARGIN - HIGH + 1, HIGH):
        steps = range(MARGIN, wide - MARGIN - WIDE + 1, WIDE)
        lines.append("".join(_letter(ink[top : top + HIGH, at : at + WIDE]) for at in steps))
    return "\n".join(filter(None, map(str.rstrip, lines)))


def _letter(cell: Any) -> str:
    if not cell.any():
        return " "
    known = _letters()
    wrong = (known != cell).sum(axis=(1, 2))
    best = int(wrong.argmin())
    return LETTERS[best] if wrong[best] <= 6 else "?"


@cache
def _font() -> Any:
    return ImageFont.load_default_imagefont()


@cache
def _letters() -> Any:
    """The cells of all letters, as they are drawn."""
    drawn = numpy.zeros((len(LETTERS), HIGH, WIDE), dtype=bool)
    for at, letter in enumerate(LETTERS):
        cell = Image.new("L", (WIDE, HIGH), 255)
        ImageDraw.Draw(cell).text((0, 0), letter, fill=0, font=_font())
        drawn[at] = numpy.asarray(cell) < 128
    return drawn
