"""Files in a run: what goes before all prompts, how large, from where, and what they cost."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from ondine_nb import Pipeline
from ondine_nb.data.media import fetch
from ondine_nb.errors import ConfigurationError
from ondine_nb.notebook.card.dry_run import DryRun, dry_run_text
from ondine_nb.pipeline.assembly import checks
from tests.asking import Asker
from tests.data.media.files import encrypted_pdf, pdf, picture
from tests.server import MessagesServer

HAIKU_IN, HAIKU_OUT = "0.10", "0.50"  # USD per million tokens, up to 100,000 of them
SIZES = [(40, 30), (900, 700), (3_000, 400), (2_050, 900), (64, 64), (300, 2_400)]


@pytest.fixture(scope="module")
def server() -> Iterator[MessagesServer]:
    """One for all tests: what a test has sent is counted from where the last one ended."""
    with MessagesServer() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "my files 📁"
    place.mkdir()
    monkeypatch.chdir(place)
    for number, size in enumerate(SIZES):
        (place / f"photo {number}.png").write_bytes(picture(size))
    (place / "guide.pdf").write_bytes(pdf(["How it is judged. " * 60] * 2))
    (place / "contract.pdf").write_bytes(pdf(["first page", "second page", "third page"]))
    return place


PHOTOS = pd.DataFrame({"photo": [f"photo {number}.png" for number in range(len(SIZES))]})
NUMBERED = PHOTOS.assign(n=1)


def blocks(server: MessagesServer, since: int) -> list[list[dict[str, Any]]]:
    """The content of each request that arrived behind the first `since`."""
    return [arrival.body["messages"][0]["content"] for arrival in server.requests[since:]]


def content_of(block: dict[str, Any]) -> bytes:
    return base64.b64decode(block["source"]["data"])


def cost_of(server: MessagesServer, since: int) -> Decimal:
    """What the ledger has billed behind its first `since` entries, in USD."""
    entries = server.ledger.entries[since:]
    tokens_in = sum(
        Decimal(it.input_tokens)
        + it.cache_creation_input_tokens * Decimal("1.25")
        + it.cache_read_input_tokens * Decimal("0.1")
        for it in entries
    )
    tokens_out = sum(it.output_tokens for it in entries)
    return (tokens_in * Decimal(HAIKU_IN) + tokens_out * Decimal(HAIKU_OUT)) / 1_000_000


def test_a_picture_is_sent_as_it_is_or_as_large_as_the_model_looks_at_it(
    server: MessagesServer, home: Path, folder: Path
) -> None:
    since, asker = len(server.requests), Asker(server, home)
    run = asker.run(PHOTOS, "What is it? {photo:image}", max_tokens=20)
    assert run.state == "done"
    sent = {len(content_of(block[1])): content_of(block[1]) for block in blocks(server, since)}
    files = [(folder / name).read_bytes() for name in PHOTOS["photo"]]
    small = [content for content, size in zip(files, SIZES, strict=True) if max(size) <= 2_000]
    assert all(content in sent.values() for content in small)
    sizes = {Image.open(io.BytesIO(content)).size for content in sent.values()}
    assert (2_000, 267) in sizes
    assert max(max(size) for size in sizes) == 2_000
    assert str(run.context.metrics.media) == "6 pictures (3 scaled down or cut out to fit)"


def test_another_size_is_another_question_and_the_same_one_is_in_the_journal(
    server: MessagesServer, home: Path, folder: Path
) -> None:
    asker, since = Asker(server, home), len(server.requests)
    few = PHOTOS[:2]
    asker.run(few, "What is it? {photo:image}", max_tokens=20)
    asker.run(few, "What is it? {photo:image}", max_tokens=20, image_px=300)
    (folder / "moved.png").write_bytes((folder / "photo 1.png").read_bytes())
    moved = pd.DataFrame({"photo": ["moved.png"]})
    asker.run(moved, "What is it? {photo:image}", max_tokens=20, image_px=300)
    assert len(server.requests) - since == 3  # the smaller one fits both ways
    (block,) = (it for it in blocks(server, since)[-1] if it["type"] == "image")
    assert Image.open(io.BytesIO(content_of(block))).size == (300, 233)


def test_a_row_for_each_page_is_asked_by_that_page(
    server: MessagesServer, home: Path, folder: Path
) -> None:
    asker, since = Asker(server, home), len(server.requests)
    run = asker.run("*.pdf", "Read: {path:pdf}", max_tokens=20, pages=True)
    assert run.state == "done"
    assert list(run.frame["path"]) == [
        "contract.pdf#page=1", "contract.pdf#page=2", "contract.pdf#page=3",
        "guide.pdf#page=1", "guide.pdf#page=2",
    ]  # fmt: skip
    documents = blocks(server, since)
    assert {it[1]["source"]["media_type"] for it in documents} == {"application/pdf"}
    assert str(run.context.metrics.media) == "5 PDFs with 5 pages (5 scaled down or cut out to fit)"
    drawn = asker.run("contract.pdf", "See: {path:image}", max_tokens=20, pages=True, image_px=500)
    assert drawn.state == "done"
    pages = [content_of(block[1]) for block in blocks(server, since)[-3:]]
    assert {Image.open(io.BytesIO(page)).size for page in pages} == {(387, 500)}


def test_what_is_attached_goes_before_each_prompt_and_is_paid_in_full_once(
    server: MessagesServer, home: Path, folder: Path
) -> None:
    asker, since, billed = Asker(server, home), len(server.requests), len(server.ledger.entries)
    (folder / "rules.txt").write_text("Be short.", encoding="utf-8")
    given = {"attach": ["guide.pdf", "rules.txt"], "max_tokens": 20}
    pipeline = asker.pipeline(PHOTOS, "What is it? {photo:image}", **given)
    estimate = pipeline.estimate()
    run = asker.run(PHOTOS, "What is it? {photo:image}", **given)
    assert run.state == "done"
    for content in blocks(server, since):
        kinds = [block["type"] for block in content]
        assert kinds == ["document", "text", "image"]
        assert content_of(content[0]) == (folder / "guide.pdf").read_bytes()
        assert content[0]["cache_control"] == {"type": "ephemeral"}
        assert content[1]["text"] == "Be short.\n\nWhat is it? "
    entries = server.ledger.entries[billed:]
    assert [entry.cache_creation_input_tokens > 0 for entry in entries] == [True] + [False] * 5
    assert all(entry.cache_read_input_tokens > 4_000 for entry in entries[1:])
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low <= cost_of(server, billed) <= estimate.high


def test_a_text_that_is_attached_is_a_part_of_the_prompt(
    server: MessagesServer, home: Path, folder: Path
) -> None:
    (folder / "rules.txt").write_text("Be short.\n", encoding="utf-8")
    asker, since = Asker(server, home), len(server.requests)
    asker.run(pd.DataFrame({"text": ["one"]}), "Tell: {text}", attach=Path("rules.txt"))
    assert blocks(server, since) == ["Be short.\n\nTell: one"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"attach": "nowhere.pdf"}, "--attach: 'nowhere.pdf' isn't there"),
        ({"attach": "locked.pdf"}, "--attach: 'locked.pdf' is an encrypted PDF"),
        ({"attach": 7}, "--attach is 7: give a file's path"),
        ({"pack": 4}, r"--pack asks of many rows in one text, and the prompt has \{photo:image\}"),
        ({"image_px": 10}, "--image-px is 10"),
        ({"by": "n"}, "--by writes a group's rows as text"),
        ({"evidence": "all", "schema": "a: str"}, "--evidence quotes the row's text"),
        ({"pages": True}, "leave --pages out"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_cant_be_meant_is_said_in_one_line_before_anything_is_sent(
    server: MessagesServer, home: Path, given: dict[str, Any], said: str
) -> None:
    Path("locked.pdf").write_bytes(encrypted_pdf())
    since = server.arrived
    with pytest.raises(ConfigurationError, match=said) as caught:
        Asker(server, home).pipeline(NUMBERED, "What is it? {photo:image}", **given)
    assert "\n" not in str(caught.value)
    assert server.arrived == since


def test_a_url_is_the_servers_to_fetch_unless_it_is_asked_for_here(
    server: MessagesServer, home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, fetched = (folder / "photo 1.png").read_bytes(), list[str]()
    monkeypatch.setattr(fetch, "fetch", lambda url, **_: fetched.append(url) or content)
    urls = pd.DataFrame({"photo": ["https://example.org/a.png", "http://127.0.0.1:9/b.png"]})
    asker, since = Asker(server, home), len(server.requests)
    asker.run(urls[:1], "What is it? {photo:image}", max_tokens=20)
    assert blocks(server, since)[0][1]["source"] == {"type": "url", "url": urls["photo"][0]}
    assert fetched == []
    run = asker.run(urls[:1], "What is it? {photo:image}", max_tokens=20, fetch=True)
    assert run.state == "done"
    assert content_of(blocks(server, since)[1][1]) == content
    assert fetched == [urls["photo"][0]]
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    asker.run(urls[1:], "What is it? {photo:image}", max_tokens=20, fetch=True)
    assert len(blocks(server, since)) == 2  # a private address: nothing was sent


def test_a_url_is_fetched_once_for_estimate_run_and_row_detail_and_anew_by_the_next_run(
    server: MessagesServer, home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, fetched = (folder / "photo 1.png").read_bytes(), list[str]()
    monkeypatch.setattr(fetch, "fetch", lambda url, **_: fetched.append(url) or content)
    urls = pd.DataFrame({"photo": [f"https://example.org/{at}.png" for at in range(300)]})
    pipeline = Asker(server, home).pipeline(urls, "Which? {photo:image}", fetch=True)
    assert pipeline.estimate().pictures == 1  # the same picture everywhere: asked once
    result = pipeline.execute()
    pipeline.prompt_at(7)
    assert (result.metrics.processed_rows, sorted(fetched)) == (300, sorted(urls["photo"]))
    pipeline.execute()
    assert sorted(fetched) == sorted([*urls["photo"]] * 2)


@pytest.mark.parametrize("form", ["image", "pdf"])
def test_what_is_billed_is_within_the_estimate_and_each_request_within_its_bound(
    server: MessagesServer, home: Path, folder: Path, form: str
) -> None:
    asker = Asker(server, home)
    if form == "image":
        rows, prompt = PHOTOS, "What is it? {photo:image}"
    else:
        for pages in (1, 2, 7):
            (folder / f"c{pages}.pdf").write_bytes(pdf(["words and numbers " * 40] * pages))
        rows = pd.DataFrame({"file": ["c1.pdf", "c2.pdf", "c7.pdf", "guide.pdf"]})
        prompt = "Read: {file:pdf}"
    estimate = asker.pipeline(rows, prompt, max_tokens=20).estimate()
    billed = len(server.ledger.entries)
    run = asker.run(rows, prompt, max_tokens=20)
    cost = cost_of(server, billed)
    assert run.cost == cost
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low <= cost <= estimate.high
    told = {"image": "6 pictures (3 scaled", "pdf": "4 PDFs with 12 pages"}[form]
    assert any(told in note for note in estimate.notes)
    assert (estimate.pictures, estimate.pages) == ((6, 0) if form == "image" else (0, 12))


@pytest.mark.parametrize("budget", ["0.0006", "0.002"])
def test_pictures_and_pages_never_pass_the_budget(
    server: MessagesServer, home: Path, folder: Path, budget: str
) -> None:
    rows = pd.DataFrame({"file": [*PHOTOS["photo"], "guide.pdf", "contract.pdf"] * 2})
    rows["n"] = range(len(rows))
    billed = len(server.ledger.entries)
    run = Asker(server, home).run(rows, "{n}: {file:file}", max_tokens=20, budget=budget)
    assert cost_of(server, billed) <= Decimal(budget)
    assert run.cost == cost_of(server, billed)
    assert "out of budget" in str(run.message)


def test_what_no_rule_is_known_for_is_counted_by_the_api_before_a_budget_pays_it(
    server: MessagesServer, home: Path
) -> None:
    billed, counts = len(server.ledger.entries), "POST /v1/messages/count_tokens"
    counted = server.calls[counts]
    rows = pd.DataFrame({"file": ["https://example.org/a.pdf", "https://example.org/b.pdf"]})
    run = Asker(server, home).run(rows, "Read: {file:pdf}", max_tokens=20, budget="0.01")
    assert run.state == "done"
    assert server.calls[counts] - counted == 2
    assert run.cost == cost_of(server, billed) <= Decimal("0.01")


def test_without_the_extra_a_budget_for_pdfs_says_what_to_install(
    server: MessagesServer, home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "is_installed", lambda _: False)
    rows = pd.DataFrame({"file": ["guide.pdf"]})
    with pytest.raises(ConfigurationError, match=r"pip install 'ondine-nb\[media\]'"):
        Asker(server, home).pipeline(rows, "Read: {file:pdf}", budget=1)


def test_the_dry_run_says_how_many_pictures_and_pages_and_what_is_scaled(
    server: MessagesServer, home: Path, folder: Path
) -> None:
    rows = pd.DataFrame({"file": [*PHOTOS["photo"], "contract.pdf"]})
    pipeline: Pipeline = Asker(server, home).pipeline(rows, "{file:file}", max_tokens=20)
    estimator = pipeline.estimator()
    estimate = asyncio.run(estimator.estimate())
    text = dry_run_text(DryRun.of(pipeline, estimator.tally, estimate))
    assert "hold 6 pictures, 1 PDF with 3 pages (3 scaled down or cut out to fit)" in text
