"""Scaling: what fits goes byte for byte, what doesn't is decoded small, upright and in 8 bits."""

from __future__ import annotations

import builtins
import io
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ondine_nb.data.media import images
from ondine_nb.data.media.header import media_type_of, picture_size
from ondine_nb.data.media.images import Picture, fitted, scaled_size
from ondine_nb.errors import BrokenFileError, ConfigurationError, TooLargeFileError
from ondine_nb.models import PictureLimits
from tests.data.media.files import animation, picture, turned

SMALL = PictureLimits(32)
RED, WHITE = (200, 30, 30), (255, 255, 255)
FILES = {
    "PNG": picture(),
    "JPEG": picture(form="JPEG", quality=95),
    "WebP": picture(form="WEBP"),
    "GIF": picture(form="GIF", mode="P"),
    "16 bits": picture(mode="I;16"),
    "CMYK": picture(form="JPEG", mode="CMYK", quality=95),
    "a palette": picture(mode="P"),
    "a palette with a transparent colour": picture(mode="P", transparency=0),
    "alpha": picture(mode="RGBA"),
    "grey and alpha": picture(mode="LA"),
    "black and white": picture(mode="1"),
    "progressive JPEG": picture(form="JPEG", progressive=True),
}


def read(content: bytes) -> Picture:
    media_type = media_type_of(content)
    return Picture(content, media_type, *picture_size(content, media_type))


def opened(sent: Picture) -> Image.Image:
    image = Image.open(io.BytesIO(sent.content))
    assert (sent.media_type, sent.width, sent.height) == (
        Image.MIME[image.format or ""],
        *image.size,
    )
    return image


def near(pixel: Any, wanted: tuple[int, int, int]) -> bool:
    return all(abs(one - other) < 12 for one, other in zip(pixel, wanted, strict=True))


@pytest.mark.parametrize("name", FILES)
def test_what_a_model_looks_at_as_it_is_goes_byte_for_byte(name: str) -> None:
    given_one = read(FILES[name])
    assert fitted(given_one, PictureLimits(64)) is given_one
    assert scaled_size(given_one, PictureLimits(64)) is None


@pytest.mark.parametrize("name", FILES)
def test_what_is_larger_is_scaled_down_in_its_proportions_and_looks_the_same(name: str) -> None:
    sent = fitted(read(FILES[name]), SMALL)
    image = opened(sent)
    assert image.size == (32, 24)
    assert image.mode in ("L", "LA", "RGB", "RGBA")
    left, right = (image.convert("RGB").getpixel(at) for at in ((4, 12), (28, 12)))
    assert near(right, WHITE) or name == "16 bits"
    coloured = name not in ("16 bits", "grey and alpha", "black and white")
    assert near(left, RED) if coloured else max(left) < 128 < min(right)


def test_16_bits_keep_their_shades_instead_of_being_clipped() -> None:
    image = opened(fitted(read(picture(mode="I;16")), SMALL))
    assert (image.getpixel((4, 12)), image.getpixel((28, 12))) == (9_000 // 256, 60_000 // 256)


def test_a_picture_that_lies_on_its_side_is_stood_up_by_its_exif() -> None:
    image = opened(fitted(read(turned()), SMALL))
    assert image.size == (32, 24)
    assert near(image.getpixel((4, 12)), RED)
    assert near(image.getpixel((28, 12)), WHITE)
    assert 0x0112 not in image.getexif()


def test_a_picture_on_its_side_that_fits_keeps_its_tag() -> None:
    sent = fitted(read(turned()), PictureLimits(64))
    assert opened(sent).getexif()[0x0112] == 6


@pytest.mark.parametrize("form", ["GIF", "WEBP"])
def test_of_a_picture_that_moves_the_first_frame_is_sent(form: str) -> None:
    moving = read(animation(form=form))
    assert scaled_size(moving, PictureLimits(64)) == (64, 48)
    image = opened(fitted(moving, PictureLimits(64)))
    assert getattr(image, "n_frames", 1) == 1
    assert near(image.convert("RGB").getpixel((4, 12)), RED)


def test_a_file_with_too_many_bytes_is_packed_again() -> None:
    noise = Image.effect_noise((300, 300), 90).convert("RGB")
    target = io.BytesIO()
    noise.save(target, "PNG")
    most = len(target.getvalue()) // 2
    sent = fitted(read(target.getvalue()), PictureLimits(300, most_bytes=most))
    assert (sent.media_type, sent.width, sent.height) == ("image/jpeg", 300, 300)
    assert len(sent.content) <= most
    with pytest.raises(TooLargeFileError, match="--image-px"):
        fitted(read(target.getvalue()), PictureLimits(300, most_bytes=500))


def test_a_jpeg_is_decoded_no_larger_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []
    upright = images._upright
    monkeypatch.setattr(
        images, "_upright", lambda image: sizes.append(image.size) or upright(image)
    )
    fitted(read(picture((4_000, 3_000), "JPEG")), PictureLimits(500))
    assert sizes == [(500, 375)]


def test_a_head_that_promises_a_bomb_is_refused_before_anything_is_decoded() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TooLargeFileError, match=r"60,000 × 60,000 pixels"):
            fitted(Picture(picture(), "image/png", 60_000, 60_000), SMALL)
        bomb = bytearray(picture())  # the head of one, the body of none
        bomb[16:24] = (12_000).to_bytes(4, "big") * 2
        with pytest.raises(BrokenFileError, match="decoded"):
            fitted(read(bytes(bomb)), SMALL)


def test_a_broken_picture_is_named_as_what_it_is() -> None:
    content = bytearray(picture((640, 480), "PNG"))
    content[60:90] = bytes(30)
    with pytest.raises(BrokenFileError, match="is a PNG that can't be decoded"):
        fitted(read(bytes(content)), SMALL)


def test_without_pillow_only_what_has_to_be_changed_asks_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    imported = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "PIL":
            raise ModuleNotFoundError(f"No module named {name!r}", name="PIL")
        return imported(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert fitted(read(FILES["JPEG"]), PictureLimits(64)) is not None
    with pytest.raises(ConfigurationError, match=r"Pillow: pip install 'ondine-nb\[media\]'"):
        fitted(read(FILES["JPEG"]), SMALL)


@pytest.mark.slow
@given(
    width=st.integers(1, 20_000),
    height=st.integers(1, 20_000),
    px=st.integers(28, 8_000),
    patches=st.none() | st.integers(64, 5_000),
)
def test_a_size_that_fits_is_within_the_limits_and_never_grows(
    width: int, height: int, px: int, patches: int | None
) -> None:
    limits = PictureLimits(px, patches)
    across, down = limits.fit(width, height)
    assert 1 <= across <= width
    assert 1 <= down <= height
    assert max(across, down) <= px
    if patches is not None:
        assert -(-across // 28) * -(-down // 28) <= patches
    fits = max(width, height) <= px and (
        patches is None or -(-width // 28) * -(-height // 28) <= patches
    )
    assert fits == ((across, down) == (width, height))
