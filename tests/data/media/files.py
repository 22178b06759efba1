"""Pictures and PDFs as bytes, made with Pillow and by hand: what tests put into cells."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence

from PIL import Image

__all__ = ["animation", "encrypted_pdf", "pdf", "picture", "turned"]


def picture(
    size: tuple[int, int] = (64, 48), form: str = "PNG", mode: str = "RGB", **how: object
) -> bytes:
    """A picture whose left half is red (dark) and whose right half is white."""
    image = Image.new("RGB", size, "white")
    image.paste((200, 30, 30), (0, 0, size[0] // 2, size[1]))
    if mode == "I;16":
        grey = Image.new("I", size, 60_000)
        grey.paste(9_000, (0, 0, size[0] // 2, size[1]))
        return _saved(grey.convert("I;16"), form, **how)
    return _saved(image.convert(mode), form, **how)


def turned(size: tuple[int, int] = (64, 48)) -> bytes:
    """A JPEG that lies on its side, with the EXIF tag (6) that stands it up."""
    image = Image.open(io.BytesIO(picture(size))).transpose(Image.Transpose.ROTATE_90)
    exif = image.getexif()
    exif[0x0112] = 6
    return _saved(image, "JPEG", exif=exif, quality=95)


def animation(size: tuple[int, int] = (64, 48), form: str = "GIF") -> bytes:
    """Two frames: the first is `picture`, the second blue."""
    first = Image.open(io.BytesIO(picture(size)))
    return _saved(
        first, form, save_all=True, append_images=[Image.new("RGB", size, "blue")], duration=100
    )


def _saved(image: Image.Image, form: str, **how: object) -> bytes:
    target = io.BytesIO()
    image.save(target, form, **how)
    return target.getvalue()


def pdf(texts: Sequence[str] = ("Hello",), *, size: tuple[int, int] = (612, 792)) -> bytes:
    """A PDF with a page for each text (ASCII), written by hand."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    pages = []
    for text in texts:
        shown = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
        drawn = zlib.compress(f"BT /F1 12 Tf 72 {size[1] - 72} Td ({shown}) Tj ET".encode())
        objects.append(
            b"<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream" % (len(drawn), drawn)
        )
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % (*size, len(objects))
        )
        pages.append(len(objects))
    kids = b" ".join(b"%d 0 R" % page for page in pages)
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%b] >>" % (len(pages), kids)
    return _written(objects)


def encrypted_pdf() -> bytes:
    """A PDF that asks for a password: its checks of the user's and the owner's hold for none."""
    whole = pdf()
    locked = b"<< /Filter /Standard /V 1 /R 2 /Length 40 /P -4 /O <%b> /U <%b> >>" % (
        b"28BF" * 16,
        b"00FF" * 16,
    )
    number = whole.count(b" obj\n") + 1
    head, _, _ = whole.partition(b"xref\n")
    objects = [part.split(b"\nendobj")[0] for part in head.split(b" 0 obj\n")[1:]]
    return _written(
        [*objects, locked], b"/Encrypt %d 0 R /ID [<%b> <%b>] " % (number, b"AB" * 16, b"AB" * 16)
    )


def _written(objects: Sequence[bytes], trailer: bytes = b"") -> bytes:
    whole, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(whole))
        whole += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return (
        whole
        + b"xref\n0 %d\n0000000000 65535 f \n%b" % (len(objects) + 1, table)
        + b"trailer\n<< /Size %d /Root 1 0 R %b>>\nstartxref\n%d\n%%%%EOF\n"
        % (len(objects) + 1, trailer, len(whole))
    )
