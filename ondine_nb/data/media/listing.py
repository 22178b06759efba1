"""A frame of files: a row for each that a pattern matches, or for each page of a PDF."""

from __future__ import annotations

from collections.abc import Iterator
from glob import glob, has_magic, iglob
from pathlib import Path

from ...errors import ConfigurationError, MediaError
from ..columns import Column
from ..frames import NativeFrame, records_frame
from .header import PDF, media_type_of
from .pdf import pages_in

__all__ = ["MEDIA_ENDINGS", "files_frame", "is_pattern", "matches_files"]

MEDIA_ENDINGS = (".pdf", ".png", ".jpg", ".jpeg", ".gif", ".webp")
_HEAD = 1_024


def is_pattern(text: str) -> bool:
    """Whether a text that isn't the path of a table names files to make a frame of.

    That is a pattern, as `scans/*.png` or `contracts/**/*.pdf`, or one picture or PDF.
    """
    return has_magic(text) or text.lower().endswith(MEDIA_ENDINGS)


def matches_files(text: str) -> bool:
    """Whether a text, which may be a Python expression too, is a pattern with a file behind it."""
    if not ("*" in text or "?" in text or text.lower().endswith(MEDIA_ENDINGS)):
        return False
    return next(iglob(_expanded(text), recursive=True), None) is not None


def files_frame(pattern: str, kind: str, *, pages: bool = False) -> NativeFrame:
    """A frame of the library `kind` with the columns `path`, `name` and `size` (bytes), by path.

    With `pages` each page of a PDF has a row: its `path` ends in `#page=` and the number, which
    stands in the column `page`, too. What can't be opened has one row without a page, and is named
    when its row is asked. Raises `ConfigurationError` where nothing matches.
    """
    files = [path for path in _matched(pattern) if path.is_file()]
    if not files:
        raise ConfigurationError(
            f"no file matches '{pattern}': patterns begin at {Path.cwd()}, and `**` stands for "
            "folders in folders"
        )
    rows = [(path, page) for path in files for page in (_pages(path) if pages else (None,))]
    paths = [str(path) if page is None else f"{path}#page={page}" for path, page in rows]
    columns = [
        Column("path", "str", tuple(paths)),
        Column("name", "str", tuple(path.name for path, _ in rows)),
        Column("size", "int", tuple(path.stat().st_size for path, _ in rows)),
    ]
    if pages:
        columns.append(Column("page", "int", tuple(page for _, page in rows)))
    return records_frame(kind, columns)


def _matched(pattern: str) -> list[Path]:
    expanded = _expanded(pattern)
    if Path(expanded).exists():  # a name may have brackets in it
        return [Path(expanded)]
    return [Path(path) for path in sorted(glob(expanded, recursive=True))]


def _expanded(pattern: str) -> str:
    return str(Path(pattern).expanduser()) if pattern.startswith("~") else pattern


def _pages(path: Path) -> Iterator[int | None]:
    """The pages of a PDF, from 1; None once for what is none, or can't be opened."""
    try:
        with path.open("rb") as file:
            is_pdf = media_type_of(file.read(_HEAD)) == PDF
        yield from range(1, pages_in(path) + 1) if is_pdf else (None,)
    except (MediaError, OSError):
        yield None
