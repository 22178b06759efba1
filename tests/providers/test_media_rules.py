"""What pictures and pages come to: the model's own rule is likely, none known passes the bound."""

from __future__ import annotations

import json
from math import ceil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.data import MediaReader
from ondine_nb.models import Prompt
from ondine_nb.providers import ANY_MODEL, OpenAIProvider, Settings, capabilities
from ondine_nb.providers.anthropic import AnthropicProvider
from ondine_nb.providers.media_rules import MediaRules, chat_rules, claude_rules
from tests.data.media.files import picture

# Input tokens of a picture as they were measured or told, by model: width, height, tokens.
TOLD = [
    ("claude-haiku-5-5", 256, 256, 100),
    ("claude-haiku-5-5", 1_920, 1_080, 2_691),
    ("claude-opus-5-5", 3_840, 2_160, 2_992),
    ("claude-opus-4-8", 1_000, 1_000, 1_296),
    ("claude-haiku-4-5", 1_280, 720, 1_196),
    ("claude-haiku-4-5", 4_032, 3_024, 1_560),  # scaled down before
    ("openai gpt-4o", 1_024, 1_024, 765),
    ("openai gpt-5-mini", 1_024, 1_024, 1_762),
    ("openai gpt-6-astra", 1_024, 1_024, 1_229),
    ("openai gpt-4o-mini", 512, 512, 8_500),
    ("gemini gemini-3-pro", 1_024, 1_024, 1_120),
]
MODELS = (
    "claude-haiku-5-5",
    "claude-haiku-4-5",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-6-astra",
    "gemini-3",
    "else",
)


def rules_of(model: str) -> MediaRules:
    return claude_rules(model) if model.startswith("claude") else chat_rules(model.split()[-1])


@pytest.mark.parametrize(("model", "width", "height", "tokens"), TOLD)
def test_what_is_likely_is_near_what_was_told(
    model: str, width: int, height: int, tokens: int
) -> None:
    assert rules_of(model).picture(width, height) == pytest.approx(tokens, rel=0.05)


@given(width=st.integers(1, 8_000), height=st.integers(1, 8_000), model=st.sampled_from(MODELS))
@pytest.mark.slow
def test_no_rule_that_is_known_passes_the_bound(width: int, height: int, model: str) -> None:
    rules = rules_of(model)
    bound = rules.most_of_picture(width, height)
    patches = ceil(width / 28) * ceil(height / 28)
    tiles = 85 + 170 * ceil(width / 512) * ceil(height / 512)
    squares = ceil(2.46 * ceil(width / 32) * ceil(height / 32))
    assert bound >= max(patches, width * height / 750, tiles, squares)
    assert bound > rules.picture(width, height)


@given(pages=st.integers(1, 600), text=st.integers(0, 5_000_000))
def test_a_document_cant_pass_its_text_in_bytes_and_its_pages(pages: int, text: int) -> None:
    bound = ANY_MODEL.most_of_document(pages, text)
    assert bound >= text + 4_784 * pages
    assert ANY_MODEL.document(pages, text) < bound


def test_what_nobody_has_seen_is_bound_by_the_largest_that_is_taken() -> None:
    for rules in map(rules_of, MODELS):
        assert rules.most_of_picture(None, None) >= 4_784
        assert rules.most_of_document(None, 0) >= 600 * 4_784
    assert ANY_MODEL.most_of_picture(None, None) >= ANY_MODEL.most_of_picture(8_000, 8_000)


def test_a_provider_says_by_which_rules_its_model_goes() -> None:
    for provider, px in (
        (AnthropicProvider("claude-haiku-4-5", api_key="k"), 1_568),
        (AnthropicProvider("claude-opus-4-8", api_key="k"), 2_576),
        (AnthropicProvider("claude-opus-5-5", api_key="k"), 2_000),
        (OpenAIProvider("gpt-5.4", api_key="k"), 2_048),
    ):
        assert capabilities(provider).media_rules.limits.px == px


async def test_the_api_is_told_never_to_scale_a_picture_down_and_other_servers_nothing(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    prompt = Prompt(*MediaReader(tmp_path)("image", "a.png"), "what is it?")
    told = []
    for base_url in (None, "http://127.0.0.1:9"):
        provider = AnthropicProvider("claude-haiku-5-5", api_key="k", base_url=base_url)
        await provider.open(Settings("claude-haiku-5-5"), 1)
        told.append(json.loads(provider.write(prompt).whole())["messages"][0]["content"][0])
        await provider.close()
    assert told[0].pop("transformations") == {"oversized_image": "error"}
    assert told[0] == told[1]
