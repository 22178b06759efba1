"""Reads the pictures and documents that a cell names: a path, bytes, an image, an array, a URL.

A file is read twice: once to be hashed, judged and let go, before the journal is asked, and once
more just before it is sent. So 10,000 photos take no more memory than those on their way, and what
the journal has is never read a second time. The second time the bytes have to be the same.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from ...errors import (
    BrokenFileError,
    ChangedFileError,
    EmptyFileError,
    MediaError,
    MissingFileError,
    TooLargeFileError,
    UnsupportedFileError,
)
from ...models import Part
from ...text import is_missing, one_line
from .fetch import Fetched, without_query
from .header import PDF, PICTURES, SVG, TEXT, media_type_of, picture_size, type_name
from .images import Picture, fitted, scaled_size
from .media import Measures, Media
from .needs import is_installed
from .pdf import page_as_pdf, page_as_picture, page_size, pdf_of, split_page

__all__ = ["FORMS", "MediaReader"]

FORMS = ("image", "images", "pdf", "file")  # `{column:image}`, …
MOST_FILE_BYTES = 64_000_000  # of one file, however it is scaled: it is held while it is judged
_MOST_TEXT_BYTES = 2_000_000  # of a text file in a prompt
_MOST_FACTS = 50_000  # files whose hash is remembered within a run
_SHOWN = 120  # characters of a path in an error
_PICTURE_FORMS = ("image", "images")
_DRAWN_PX = 1_568  # of a page, where nobody says how large a model looks at it
_Read: TypeAlias = Callable[[], bytes]
_FileId: TypeAlias = tuple[str, int, int]  # path, bytes, time of the last change (ns)


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where bytes come from: how they are read, what they are called, and their file, if any."""

    read: _Read
    name: str
    shown: str
    file: _FileId | None = None
    digest: str = ""  # of the pixels, where the bytes are made of them
    page: int | None = None  # of a PDF, where only that is asked about


class MediaReader:
    """Makes the parts of a prompt of a cell's value, by the form that the prompt asks for it in.

    `folder` is what relative paths begin at (the working directory by default). `takes` are the
    kinds of parts that the model takes, and `fetches` those whose URLs its server fetches; `title`
    is what it is called. `measures` are the model's: larger pictures are scaled down, and tokens
    counted. With `fetched` files at URLs are read here, from public addresses only. It may be
    called from several threads. What it learns of a file is kept by path, size and time of the
    last change, for as long as it lives: a run has its own.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        takes: Collection[str] = ("text", "image", "document"),
        fetches: Collection[str] = ("image", "document"),
        title: str = "the model",
        measures: Measures | None = None,
        fetched: Fetched | None = None,
    ) -> None:
        self.folder: Path = Path.cwd() if folder is None else Path(folder)
        self._takes, self._fetches, self._title = takes, fetches, title
        self._measures, self._fetched = measures, fetched
        self._facts: OrderedDict[tuple[_FileId, str, int | None], Media] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, form: str, value: Any) -> tuple[Part, ...]:
        """The parts for `value` in this form: `image`, `images`, `pdf` or `file`; none of nothing.

        A text file in the form `file` is a text. It takes time: files are read and hashed. Raises
        `MediaError` for what can't be sent.
        """
        if is_missing(value):
            return ()
        items = list(_items(value))
        if form in ("image", "pdf") and len(items) > 1:
            more = "{…:images}" if form == "image" else "{…:file}"
            raise MediaError(f"{len(items)} values where one is asked for: write {more} for a list")
        return tuple(self._part(form, item) for item in items if not is_missing(item))

    def _part(self, form: str, value: Any) -> Part:
        if isinstance(value, str) and _is_url(value):
            linked = _of_url(form, value.strip())
            if self._fetched is None:
                return self._weighed(self._check_fetched(linked))
            origin = _at_url(linked, self._fetched)
        else:
            origin = self._origin(value)
        return self._known(origin, form) or self._judged(origin, form)

    def _check_fetched(self, media: Media) -> Media:
        if media.kind in self._fetches:
            return media
        what = "pictures" if media.kind == "image" else "PDFs"
        raise MediaError(
            f"'{one_line(media.url, _SHOWN)}' is a URL, and {self._title} isn't known to fetch "
            f"{what}: give --fetch, so that it is fetched here, or the file itself"
        )

    # -- where the bytes are

    def _origin(self, value: Any) -> _Origin:
        if isinstance(value, bytes | bytearray | memoryview):
            return _held(bytes(value))
        if isinstance(value, Mapping):  # a struct of a file's bytes and its name, as data sets have
            if value.get("bytes") is not None:
                return _held(bytes(value["bytes"]), str(value.get("path") or ""))
            value = value.get("path")
        if isinstance(value, str) and value.startswith("data:"):
            return _held(_of_data_url(value))
        if isinstance(value, str | os.PathLike):
            return self._file(os.fspath(value))
        if path := _unread(value):
            return self._file(path)
        if (drawn := _drawn(value)) is not None:
            return drawn
        raise MediaError(
            f"a value of type {type(value).__name__} is no picture or document: give a path, "
            "bytes, a PIL image, an array of pixels, a figure or a URL"
        )

    def _file(self, given: str | bytes) -> _Origin:
        text, page = split_page(os.fsdecode(given), self.folder)
        shown = one_line(text, _SHOWN)
        if not text.strip():
            raise MissingFileError("the path is empty")
        try:
            path = self.folder / Path(text).expanduser()
            found = os.stat(path)
        except FileNotFoundError:
            raise MissingFileError(self._not_there(shown, text)) from None
        except (OSError, ValueError, RuntimeError) as error:
            raise MissingFileError(f"'{shown}' can't be opened: {_said(error)}") from None
        if stat.S_ISDIR(found.st_mode):
            raise MediaError(f"'{shown}' is a folder: give the path of a file in it")
        if not stat.S_ISREG(found.st_mode):
            raise MediaError(f"'{shown}' is no file but a device, pipe or socket")
        if not found.st_size:
            raise EmptyFileError(f"'{shown}' is empty (0 bytes)")
        if found.st_size > MOST_FILE_BYTES:
            raise TooLargeFileError(
                f"'{shown}' has {found.st_size:,} bytes, and a file has {MOST_FILE_BYTES:,} at most"
            )
        known = (str(path), found.st_size, found.st_mtime_ns)
        return _Origin(lambda: _read(path, shown), path.name, f"'{shown}'", known, page=page)

    def _not_there(self, shown: str, text: str) -> str:
        where = "" if os.path.isabs(os.path.expanduser(text)) else f" in '{self.folder}'"
        return f"'{shown}' isn't there{where}: no file has that path"

    # -- what they are

    def _known(self, origin: _Origin, form: str) -> Media | None:
        if origin.file is None:
            return None
        with self._lock:
            return self._facts.get((origin.file, form, origin.page))

    def _judged(self, origin: _Origin, form: str) -> Part:
        content = origin.read()
        if not content:
            raise EmptyFileError(f"{origin.shown} is empty (0 bytes)")
        if len(content) > MOST_FILE_BYTES:
            raise TooLargeFileError(
                f"{origin.shown} has {len(content):,} bytes: {MOST_FILE_BYTES:,} at most"
            )
        media_type = media_type_of(content)
        if media_type == TEXT and form == "file":
            return _as_text(content, origin)
        _check_type(media_type, form, origin)
        is_document = media_type == PDF and form not in _PICTURE_FORMS
        kind = "document" if is_document else "image"
        if kind not in self._takes:
            raise UnsupportedFileError(
                f"{origin.shown} is {type_name(media_type)}, and {self._title} isn't known to take "
                "any: name another model with -m"
            )
        media = Media(
            kind,
            media_type,
            sha256=origin.digest or hashlib.sha256(content).hexdigest(),
            length=len(content),
            name=origin.name,
        )
        try:
            media = self._weighed(self._measured(media, content, origin.page))
        except MediaError as error:
            raise type(error)(f"{origin.shown} {error}") from error
        media = replace(media, loads=lambda asked: self._loaded(asked, origin))
        if origin.file is not None:
            with self._lock:
                self._facts[origin.file, form, origin.page] = media
                while len(self._facts) > _MOST_FACTS:
                    self._facts.popitem(last=False)
        return media

    def _measured(self, media: Media, content: bytes, page: int | None) -> Media:
        """With pages or size, and how it is changed before it is sent. Raises `MediaError`."""
        if media.media_type == PDF:
            return self._of_pdf(media, content, page)
        if page is not None:
            raise UnsupportedFileError(f"is {type_name(media.media_type)} and has no page {page}")
        width, height = picture_size(content, media.media_type)
        media = replace(media, width=width, height=height)
        if self._measures is None:
            return media
        picture = Picture(content, media.media_type, width, height)
        size = scaled_size(picture, self._measures.limits)
        if size is None:
            return media
        if not is_installed("PIL"):  # it can't be sent: say so before anything is
            fitted(picture, self._measures.limits)
        return replace(media, scaling=f"{size[0]} × {size[1]}")

    def _of_pdf(self, media: Media, content: bytes, page: int | None) -> Media:
        if b"%%EOF" not in content[-4_096:]:
            raise BrokenFileError("begins as PDF and is cut or broken")
        if page is None and not is_installed("pypdfium2"):  # it goes as it is, uncounted
            return media
        if page is None:
            told = pdf_of(content)
            return replace(media, pages=told.pages, text_bytes=told.text_bytes)
        if media.kind == "document":
            told = pdf_of(page_as_pdf(content, page))
            return replace(media, pages=1, text_bytes=told.text_bytes, scaling=f"page {page}")
        px = self._px
        width, height = page_size(content, page, px)
        return replace(media, width=width, height=height, scaling=f"page {page}, {px} px")

    @property
    def _px(self) -> int:
        """The longer side of a page that is drawn."""
        return _DRAWN_PX if self._measures is None else self._measures.limits.px

    def _weighed(self, media: Media) -> Media:
        """With its input tokens, by the model's measures."""
        measures = self._measures
        if measures is None:
            return media
        if media.kind == "document":
            told = media.pages, media.text_bytes
            return replace(
                media, size=measures.most_of_document(*told), likely=measures.document(*told)
            )
        size = media.width, media.height
        if media.width and media.height:
            size = measures.limits.fit(media.width, media.height)
        return replace(media, size=measures.most_of_picture(*size), likely=measures.picture(*size))

    def _loaded(self, media: Media, origin: _Origin) -> tuple[str, bytes]:
        content = origin.read()
        if not origin.digest and hashlib.sha256(content).hexdigest() != media.sha256:
            raise ChangedFileError(
                f"{origin.shown} was changed while the run was under way: run the cell again"
            )
        try:
            return self._as_sent(media, content, origin.page)
        except MediaError as error:
            raise type(error)(f"{origin.shown} {error}") from error

    def _as_sent(self, media: Media, content: bytes, page: int | None) -> tuple[str, bytes]:
        """Media type and bytes of what is sent for this content."""
        if not media.scaling:
            return media.media_type, content
        if page is not None and media.kind == "document":
            return PDF, page_as_pdf(content, page)
        if page is not None:
            content = page_as_picture(content, page, self._px)
            media = replace(media, media_type="image/png")
        assert self._measures is not None or page is not None  # else nothing is scaled
        picture = Picture(content, media.media_type, media.width or 0, media.height or 0)
        if self._measures is not None:
            picture = fitted(picture, self._measures.limits)
        return picture.media_type, picture.content


def _items(value: Any) -> Iterator[Any]:
    """The single values of a cell: a list's, or the value itself."""
    if hasattr(value, "as_py"):  # a pyarrow scalar
        value = value.as_py()
    if isinstance(value, list | tuple) and not _is_grid(value):
        for item in value:
            yield from _items(item)
    elif _is_objects(value):
        for item in value.tolist() if hasattr(value, "tolist") else value.to_list():
            yield from _items(item)
    else:
        yield value


def _is_grid(value: Any) -> bool:
    """Whether these are rows of pixels, as lists: of numbers, or of lists of up to 4 of them."""
    first = value[0] if value else None
    pixel = first[0] if isinstance(first, list | tuple) and first else None
    if isinstance(pixel, list | tuple):
        return 1 <= len(pixel) <= 4 and isinstance(pixel[0], int | float)
    return isinstance(pixel, int | float)


def _is_objects(value: Any) -> bool:
    """Whether it is an array or a Series of values, not of pixels."""
    if not hasattr(value, "dtype") or not hasattr(value, "__len__"):
        return False
    kind = getattr(value.dtype, "kind", "O")
    return not hasattr(value, "shape") or len(value.shape) == 1 or kind in "OSU"


def _is_url(text: str) -> bool:
    return text.lstrip()[:8].lower().startswith(("http://", "https://"))


def _of_url(form: str, url: str) -> Media:
    """A URL, for the server to fetch: what is behind it isn't known here."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or any(sign.isspace() or not sign.isprintable() for sign in url):
        raise MediaError(f"'{one_line(url, _SHOWN)}' is no URL that can be fetched")
    if parts.username is not None or parts.password is not None:
        raise MediaError(f"the URL at {host} has a login in it, which isn't sent: leave it out")
    kind = {"image": "image", "images": "image", "pdf": "document"}.get(form)
    if kind is None:
        is_pdf = parts.path.lower().endswith(".pdf")
        kind = "document" if is_pdf else "image"
    return Media(
        kind, PDF if kind == "document" else "image/*", url=url, name=parts.path.rpartition("/")[2]
    )


def _at_url(linked: Media, fetched: Fetched) -> _Origin:
    shown = f"'{one_line(without_query(linked.url), _SHOWN)}'"
    return _Origin(lambda: fetched.read(linked.url), linked.name, shown, (linked.url, 0, 0))


def _held(content: bytes, name: str = "") -> _Origin:
    shown = f"'{one_line(name, _SHOWN)}'" if name else f"a value of {len(content):,} bytes"
    return _Origin(lambda: content, os.path.basename(name), shown)


def _of_data_url(text: str) -> bytes:
    head, comma, data = text.partition(",")
    try:
        if not comma or not head.endswith(";base64"):
            raise ValueError
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise MediaError(f"'{one_line(text, 40)}' is no data URL in base64") from None


def _read(path: Path, shown: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise MissingFileError(f"'{shown}' isn't there any more") from None
    except (OSError, MemoryError) as error:
        raise MissingFileError(f"'{shown}' can't be read: {_said(error)}") from None


def _said(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _as_text(content: bytes, origin: _Origin) -> str:
    if len(content) > _MOST_TEXT_BYTES:
        raise TooLargeFileError(
            f"{origin.shown} is a text of {len(content):,} bytes: {_MOST_TEXT_BYTES:,} at most"
        )
    return content.decode("utf-8-sig")


def _check_type(media_type: str, form: str, origin: _Origin) -> None:
    """Raises `UnsupportedFileError` where the content isn't what the form asks for."""
    is_picture = media_type in PICTURES
    if (is_picture and form != "pdf") or (media_type == PDF and form in ("pdf", "file")):
        return
    if media_type == PDF and origin.page is not None:  # which is drawn
        return
    wanted = {"pdf": "PDF", "file": "pictures (JPEG, PNG, GIF, WebP), PDF and text"}.get(
        form, "JPEG, PNG, GIF and WebP"
    )
    hint = ""
    if media_type == PDF:
        hint = ": write {…:pdf}, or give the path of a page, as a.pdf#page=1"
    elif is_picture:
        hint = ": write {…:image}"
    elif media_type == TEXT:
        hint = ": write {…:file}, or the column of its text"
    elif media_type == SVG:
        hint = ": save it as PNG"
    raise UnsupportedFileError(
        f"{origin.shown} is {type_name(media_type)} by its content, and {{…:{form}}} takes "
        f"{wanted}{hint}"
    )


# -- what is no file: drawn to PNG, which loses nothing

_DRAWING = threading.Lock()  # neither figures nor images are safe in two threads


def _unread(value: Any) -> str:
    """The path of an image that was opened and not yet read: its file is sent as it is."""
    if not (_is_of(value, "PIL.ImageFile", "ImageFile") and getattr(value, "tile", None)):
        return ""
    is_file = value.format in ("JPEG", "PNG", "GIF", "WEBP") and not value.tell()
    return str(value.filename or "") if is_file else ""


def _drawn(value: Any) -> _Origin | None:
    """The bytes of an image, an array of pixels or a figure."""
    if _is_of(value, "PIL.Image", "Image"):
        return _pixels(lambda: value)
    if _is_of(value, "matplotlib.figure", "Figure"):
        return _held(_figure(value))
    if (
        hasattr(value, "__array_interface__")
        or hasattr(value, "__array__")
        or (isinstance(value, list | tuple) and _is_grid(value))
    ):
        return _pixels(lambda: _image_of(value))
    return None


def _is_of(value: Any, module: str, name: str) -> bool:
    return any(it.__module__ == module and it.__name__ == name for it in type(value).__mro__)


def _figure(figure: Any) -> bytes:
    target = io.BytesIO()
    with _DRAWING:
        figure.savefig(target, format="png", metadata={"Software": None})
    return target.getvalue()


def _pixels(image_of: Callable[[], Any]) -> _Origin:
    """An image that is known by its pixels: PNG is packed differently by versions of a library.

    Neither the PNG nor an upright copy is kept: both are made anew when they are wanted.
    """
    with _DRAWING:
        try:
            image = _upright(image_of())
            told = f"{image.mode} {image.width} {image.height}:".encode()
            digest = hashlib.sha256(told + image.tobytes()).hexdigest()
        except (OSError, ValueError, TypeError, SyntaxError) as error:
            raise BrokenFileError(f"an image that can't be read: {_said(error)}") from None
    shown = f"an image of {image.width} × {image.height}"
    return _Origin(lambda: _png(image_of), "", shown, digest=digest)


def _upright(image: Any) -> Any:
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode in ("1", "L", "LA", "RGB", "RGBA", "I;16"):
        return image
    transparent = "A" in image.getbands() or "transparency" in image.info
    return image.convert("RGBA" if transparent else "RGB")


def _png(image_of: Callable[[], Any]) -> bytes:
    target = io.BytesIO()
    with _DRAWING:
        _upright(image_of()).save(target, "PNG")
    return target.getvalue()


def _image_of(value: Any) -> Any:
    """An array of pixels (height × width, or with 1, 3 or 4 channels behind) as a PIL image."""
    try:
        import numpy
        from PIL import Image
    except ImportError:
        raise MediaError(
            "an array of pixels needs Pillow: pip install 'ondine-nb[media]'"
        ) from None
    try:
        pixels = numpy.asarray(value)
    except ValueError:
        raise MediaError("rows of pixels of different lengths are no picture") from None
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise MediaError(
            f"an array of shape {pixels.shape} is no picture: give height × width, or height × "
            "width × 3 (RGB) or 4 (RGBA)"
        )
    if not pixels.size:
        raise MediaError(f"an array of shape {pixels.shape} has no pixels")
    return Image.fromarray(_bytes_of(numpy, pixels))


def _bytes_of(numpy: Any, pixels: Any) -> Any:
    kind = pixels.dtype.kind
    if kind == "b":
        return pixels.astype(numpy.uint8) * 255
    if pixels.dtype == numpy.uint8 or (pixels.dtype == numpy.uint16 and pixels.ndim == 2):
        return pixels
    least, most = pixels.min(), pixels.max()
    if kind == "f" and least >= 0 and most <= 1:  # as matplotlib has them
        return (pixels * 255).round().astype(numpy.uint8)
    if kind in "iu" and least >= 0 and most <= 255:
        return pixels.astype(numpy.uint8)
    raise MediaError(
        f"pixels of type {pixels.dtype} from {least} to {most} aren't known: give whole numbers "
        "from 0 to 255 (uint8), or floats from 0 to 1"
    )
