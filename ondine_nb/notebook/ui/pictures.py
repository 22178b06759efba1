"""Pictures of media cells for views: small ones of the rows in view, one in full when it is opened.

What goes to a page are JPEGs that were made here (`data.thumbnail`), and texts. They are made when
they are asked for, in the thread that asks, and only small ones are kept.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, TypeAlias

from ...data import Frame, Media, MediaReader, Thumbnail, cell_name, thumbnail, type_name
from ...errors import MediaError, OndineError
from ...models import Part
from .text import clean, safe

__all__ = ["Pictures", "Shown"]

SMALL, LARGE, FULL = 96, 800, 1_800  # px of a side: in a table, where a row is read, opened
TURN = 0.15  # seconds after which pictures that are asked for together come in two answers
MOST_KEPT = 1_000  # small pictures, of 1 to 4 kB each
MOST_ITEMS = 24  # of one cell
NAME = 80  # characters
Reader: TypeAlias = Callable[[str, Any], Sequence[Part]]
_Place: TypeAlias = tuple[int, str, int]
_KEPT: OrderedDict[tuple[bytes, int], Thumbnail] = OrderedDict()  # small ones, by content and page
_LOCK = threading.Lock()


class Shown:
    """One picture of a cell as a view shows it: a `thumb`, or None and `why` there is none.

    `place` is the row's position, the column's name and the picture's number in the cell.
    """

    def __init__(self, part: Part, side: int, page: int = 0, *, place: _Place = (0, "", 0)) -> None:
        self.place: _Place = place
        self.about: str = _about(part)
        self.facts: str = ""
        self.pages: int = 1
        self.page: int = 0
        self.why: str = ""
        self.thumb: Thumbnail | None = None
        if not isinstance(part, Media):
            self.why = "it goes as text: see the prompt"
        elif part.url:
            self.why = "its server is asked for it by the provider, not by this page"
        else:
            self._make(part, side, page)

    def _make(self, part: Media, side: int, page: int) -> None:
        self.pages = max(1, part.pages or 1)
        self.page = self.pages - 1 if page < 0 else min(page, self.pages - 1)
        self.facts = _facts(part)
        try:
            self.thumb = _made(part, side, self.page)
        except ImportError:
            self.why = "pictures are shown by Pillow: pip install 'ondine-nb[media]'"
        except (OndineError, ValueError) as error:
            self.why = clean(safe(error), 300)

    @property
    def img(self) -> Any:
        """It as HTML for a saved page, half as large as its pixels; "" where there is none."""
        from markupsafe import Markup

        if (found := self.thumb) is None:
            return ""
        size = (found.url, (found.width + 1) // 2, (found.height + 1) // 2)
        made = Markup(
            '<img src="{}" width="{}" height="{}" alt="{}" title="{}" data-at="{}" '
            'data-column="{}" data-which="{}">'
        )
        return made.format(*size, self.about, self.about, *self.place)

    def told(self) -> dict[str, Any]:
        """It as JSON."""
        found = self.thumb
        size = {} if found is None else {"width": found.width, "height": found.height}
        return {
            "url": "" if found is None else found.url,
            "about": self.about,
            "facts": self.facts,
            "pages": self.pages,
            "page": self.page,
            "why": self.why,
            **size,
        }


class Pictures(Container[str]):
    """The pictures of the media columns of `frame`; `forms` are their names with `image`, `pdf` …

    `read` makes the parts of a cell, as the prompt has them; `saved` says whether small pictures
    may stand in a saved notebook. All methods may be called from any thread, and take time.
    """

    def __init__(
        self, frame: Frame, forms: Mapping[str, str], read: Reader, *, saved: bool = True
    ) -> None:
        self.frame: Frame = frame
        self.forms: Mapping[str, str] = forms
        self.saved: bool = saved
        self._read = read

    @classmethod
    def of(cls, pipeline: Any) -> Pictures | None:
        """Those of a pipeline's frame; None where its prompt takes no column as pictures."""
        template, frame = pipeline.template, pipeline.frame
        forms = {name: form for form, name in template.forms if name in template.columns}
        if not forms or frame is None:
            return None
        return cls(frame, forms, MediaReader(), saved=not pipeline.options.no_thumbs)

    def __contains__(self, name: object) -> bool:
        return name in self.forms

    def side_by_side(self, name: str) -> int:
        """How many pictures of one cell a table makes room for."""
        return {"images": 3, "file": 2}.get(self.forms[name], 1)

    @property
    def actions(self) -> Mapping[str, Callable[..., Any]]:
        """What a browser may ask, by name."""
        return {"pictures": self.asked, "picture": self.opened}

    def asked(self, wanted: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
        """The pictures of the first of the cells that are `wanted`: as many as are made in a while.

        Each has the row's position (`at`), the column's `name` and a `size`: small or large.
        """
        made: list[list[dict[str, Any]]] = []
        until = time.monotonic() + TURN
        for it in wanted:
            if made and time.monotonic() > until:
                break
            at, name = int(it["at"]), str(it["name"])
            found = self._cell(at, name, SMALL if it["size"] == "small" else LARGE)
            made.append([shown.told() for shown in found])
        return made

    def small(self, at: int, name: str) -> list[Shown]:
        """Small pictures of a cell: those of its items, a PDF's first page."""
        return self._cell(at, name, SMALL)

    def opened(self, at: int, name: str, which: int = 0, page: int = 0) -> dict[str, Any]:
        """A cell's picture number `which` in full, of a PDF the `page` (from 0; -1 is the last)."""
        parts, why = self._parts(int(at), name)
        if not parts:
            return {"url": "", "about": name, "facts": "", "which": 0, "of": 1, "page": 0,
                    "pages": 1, "why": why or "there is no picture in this cell"}  # fmt: skip
        which = max(0, min(int(which), len(parts) - 1))
        shown = Shown(parts[which], FULL, int(page))
        return {**shown.told(), "which": which, "of": len(parts)}

    def _cell(self, at: int, name: str, side: int) -> list[Shown]:
        parts, why = self._parts(at, name)
        if not why:
            numbered = enumerate(parts)
            return [Shown(part, side, place=(at, name, which)) for which, part in numbered]
        failed = Shown(cell_name(self._value(at, name)), side)
        failed.why = why
        return [failed]

    def _parts(self, at: int, name: str) -> tuple[Sequence[Part], str]:
        """The parts of a cell, or none and why."""
        if name not in self.forms:
            raise ValueError(f"the prompt has no pictures of a column {name!r}")
        try:
            return self._read(self.forms[name], self._value(at, name))[:MOST_ITEMS], ""
        except MediaError as error:
            return (), clean(safe(error), 300)

    def _value(self, at: int, name: str) -> Any:
        ((cells,),) = self.frame.iter_rows([name], positions=[at])
        return cells[0]


def _made(part: Media, side: int, page: int) -> Thumbnail:
    """The picture of a part, made once where it is small: its content is known by its hash."""
    key = part.key_bytes, page
    with _LOCK:
        if side == SMALL and key in _KEPT:
            _KEPT.move_to_end(key)
            return _KEPT[key]
    _, content = part.load()
    made = thumbnail(content, side, page)
    if side == SMALL:
        with _LOCK:
            _KEPT[key] = made
            while len(_KEPT) > MOST_KEPT:
                _KEPT.popitem(last=False)
    return made


def _about(part: Part) -> str:
    """What it is called, in a line."""
    if isinstance(part, str):
        return clean(part, NAME)
    name = getattr(part, "name", "") or getattr(part, "url", "")
    return clean(os.path.basename(name) or name or part.text.strip("[]"), NAME)


def _facts(part: Media) -> str:
    """`JPEG · 3,024 × 4,032 px · 2.1 MB`"""
    facts = [type_name(part.media_type)]
    if part.width and part.height:
        facts.append(f"{part.width:,} × {part.height:,} px")
    if part.pages:
        facts.append("1 page" if part.pages == 1 else f"{part.pages:,} pages")
    if part.length:
        facts.append(f"{part.length / 1e6:.1f} MB" if part.length > 1e5 else f"{part.length:,} B")
    return " · ".join(facts)
