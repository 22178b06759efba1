"""The server looks into every picture and document that it gets, in both APIs' forms."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.data.media.drawings import drawing, encoded, jpeg, pdf, png

from . import MessagesServer, seen_in
from .media import media_problem, without_media


def image(content: bytes, media_type: str = "image/png", kind: str = "image") -> dict[str, Any]:
    data = base64.b64encode(content).decode()
    return {
        "type": kind,
        "source": {"type": "base64", "media_type": media_type, "data": data},
    }


def chat_image(content: bytes, media_type: str = "image/png") -> dict[str, Any]:
    url = f"data:{media_type};base64,{base64.b64encode(content).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def asked(*parts: dict[str, Any], text: str = "What?") -> dict[str, Any]:
    turn = {"role": "user", "content": [{"type": "text", "text": text}, *parts]}
    return {"model": "claude-haiku-5-5", "max_tokens": 100, "messages": [turn]}


@pytest.fixture(scope="module")
def sees() -> Iterator[MessagesServer]:
    with MessagesServer(sees=True) as running:
        yield running


def post(server: MessagesServer, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        server.url + path, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)["error"]["message"]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (image(png(), "image/jpeg"), "the content is no image/jpeg"),
        (image(png()[:-30]), "Could not process image"),
        (image(encoded(drawing(1), "BMP"), "image/bmp"), "type 'image/bmp' is not supported"),
        (image(pdf(), "application/pdf"), "image of type 'application/pdf' is not supported"),
        (image(png(), kind="document"), "document of type 'image/png' is not supported"),
        (image(png() + b"\0" * 5_300_000), "image exceeds 5 MB"),
        (image(encoded(drawing(1, (8_001, 9)), "PNG")), "is too large"),
        ({"type": "image", "source": {"type": "url", "url": "ftp://x"}}, "is no URL"),
        ({"type": "image", "source": {"type": "file"}}, "a part can't be read"),
        ({"type": "picture"}, "a part of type 'picture'"),
        ({"type": "image_url", "image_url": {"url": "data:image/png,ab"}}, "without base64"),
        ({"type": "file", "file": {"filename": "", "file_data": "x"}}, "filename is missing"),
    ],
)
def test_what_is_not_what_it_says_is_refused(part: dict[str, Any], words: str) -> None:
    assert words in str(media_problem(asked(part)))


def test_parts_come_as_they_were_sent_in_their_order() -> None:
    mine = asked(image(png(1)), image(pdf(), "application/pdf", "document"), chat_image(jpeg(2)))
    found = seen_in(mine)
    assert [each.content for each in found[:2]] == [png(1), pdf()]
    assert [each.kind for each in found] == ["image", "document", "image"]


def test_it_answers_by_the_pixels_in_both_apis(sees: MessagesServer) -> None:
    mine = post(sees, "/v1/messages", asked(image(png(70_001)), image(png(3))))
    theirs = post(sees, "/v1/chat/completions", asked(chat_image(png(3))))
    assert mine["content"][0]["text"] == "seen: 70001 3"
    assert theirs["choices"][0]["message"]["content"] == "seen: 3"


def test_two_pictures_are_two_prompts_and_one_twice_is_one(sees: MessagesServer) -> None:
    before = sees.ledger.requests
    for content in (png(5), png(6), png(5)):
        post(sees, "/v1/messages", asked(image(content), text="Which?"))
    entries = sees.ledger.entries[before:]
    assert [entries[0].prompt == each.prompt for each in entries] == [True, False, True]


def test_of_a_large_body_the_pictures_are_let_go() -> None:
    kept = without_media(asked(image(png(1))))
    assert len(json.dumps(kept)) < 300
    assert kept["messages"][0]["content"][0]["text"] == "What?"
