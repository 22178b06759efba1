"""A dry run is a card: what would be sent and cost, the types that were read, the first prompts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ondine_nb.notebook.card.dry_run import DryRun, dry_run_html, dry_run_text
from ondine_nb.notebook.ui import css
from tests.asking import Asker, texts
from tests.notebook.card.test_card import ALLOWED_TAGS, Page
from tests.notebook.ended_runs import EVIL
from tests.notebook.shots import stripped
from tests.server import MessagesServer

PRE = {"pre", "code"}


async def dry(asker: Asker, data: object, prompt: str, **options: object) -> DryRun:
    pipeline = asker.pipeline(data, prompt, **options)
    estimator = pipeline.estimator()
    estimate = await estimator.estimate()
    assert asker.server.arrived == 0
    return DryRun.of(pipeline, estimator.tally, estimate)


async def test_it_tells_cost_requests_types_and_prompts_in_both_forms(tmp_path: Path) -> None:
    with MessagesServer() as server:
        frame = texts(40).assign(stars=3)
        known = await dry(Asker(server, tmp_path), frame, "{stars} of 5:\n\n    {text}")
    html, text = Page(dry_run_html(known)).text, dry_run_text(known)
    for shown in (html, text):
        for fact in ("nothing was sent", "about $", "ceiling of $", "stars", "int64", "text 0"):
            assert fact in shown
    assert "rows: 40 (0 from the journal, 0 duplicates, 0 skipped)" in text
    assert "40 requests" in html
    assert "3 of 5:\n\n    text 0" in dry_run_html(known)  # as it would be sent
    assert "3 of 5:\n\n    text 0" in text


async def test_it_is_no_card_of_a_run_and_has_the_theme_of_one(tmp_path: Path) -> None:
    with MessagesServer() as server:
        html = dry_run_html(await dry(Asker(server, tmp_path), texts(2), "Tell {text}"))
    assert "ondine-run" not in html
    assert html.count("--o-surface: var(--jp-layout-color1") == css().count(
        "--o-surface: var(--jp-layout-color1"
    )
    assert "Tell text 0" in Page(stripped(html)).text


async def test_an_unknown_price_is_unknown(tmp_path: Path) -> None:
    with MessagesServer() as server:
        known = await dry(Asker(server, tmp_path), texts(2), "Tell {text}", model="my-llama")
    assert "unknown" in dry_run_html(known).partition("</style>")[2]
    assert "cost: unknown: the model's price is not known" in dry_run_text(known)


@pytest.mark.parametrize("by", ["stratified", "nearest"])
async def test_examples_stand_apart_from_the_prompts_with_their_price(
    by: str, tmp_path: Path
) -> None:
    gold = pd.DataFrame({"text": [f"a {at * 97} of gold" for at in range(20)], "response": "yes"})
    with MessagesServer() as server:
        options = {"examples": gold, "shots": 4, "examples_by": by}
        known = await dry(Asker(server, tmp_path), texts(40), "Tell {text}", **options)
    assert known.prompts[0] == "Tell text 0"
    assert known.examples.count("of gold") == 4
    html, text = Page(dry_run_html(known)).text, dry_run_text(known)
    for shown in (html, text):
        assert "labels of 'examples'" in shown
        assert "they are about" in shown
        assert "of the likely cost" in shown
        assert "Before the first prompt" in shown
        assert shown.count("of gold") == 4


@pytest.mark.parametrize("evil", EVIL)
async def test_markup_in_data_is_text(evil: str, tmp_path: Path) -> None:
    with MessagesServer() as server:
        frame = pd.DataFrame({"<b>x</b>": [evil, "y"]}, dtype="object")
        known = await dry(Asker(server, tmp_path), frame, f"{evil[:20]} {{<b>x</b>}}", jinja=False)
    page = Page(dry_run_html(known))
    assert {tag for tag, _ in page.elements} <= ALLOWED_TAGS | PRE
    assert not [at for _, at in page.elements if "onerror" in at]
