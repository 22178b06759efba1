"""Options: declared once for every surface, defaults as documented, values checked."""

from __future__ import annotations

import ast
import inspect
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ondine_nb
from ondine_nb import Pipeline
from ondine_nb.errors import ConfigurationError
from ondine_nb.pipeline import CONFLICTS, OPTIONS, Surface
from ondine_nb.pipeline.options import NEEDS, Options


def test_the_documented_defaults() -> None:
    options = Options()
    assert (options.model, options.column, options.thinking) == (
        "claude-haiku-5-5",
        "response",
        "off",
    )
    assert (options.budget, options.concurrency, options.timeout) == (None, "auto", 120.0)
    assert (options.on_error, options.fresh, options.overwrite) == ("keep", False, False)
    assert options.answer_tokens() == 1024


def test_none_leaves_an_option_at_its_default() -> None:
    assert Options.of({"model": None, "budget": None, "timeout": None}) == Options()


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"no option 'budgte'.*'budget'"):
        Options.of({"budgte": 2})
    with pytest.raises(ConfigurationError, match=r"no option 'zzzzzz'\.$"):
        Options.of({"zzzzzz": 2})


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"budget": "$0.10"}, Decimal("0.10")),
        ({"budget": 0.1}, Decimal("0.1")),
        ({"max_tokens": "12"}, 12),
        ({"concurrency": "7"}, 7),
        ({"pack": "20"}, 20),
        ({"concurrency": "auto"}, "auto"),
        ({"timeout": "2.5"}, 2.5),
        ({"base_url": "http://127.0.0.1:1"}, "http://127.0.0.1:1"),
        ({"fresh": np.bool_(True)}, True),
        ({"fresh": 1}, True),
        ({"to": Path("out.csv")}, "out.csv"),
    ],
)
def test_values_may_be_text_as_a_magic_has_them(given: dict[str, Any], value: Any) -> None:
    ((name, _),) = given.items()
    assert getattr(Options.of(given), name) == value


@pytest.mark.parametrize(
    "given",
    [
        {"budget": -1},
        {"budget": "x"},
        {"price_in": "nan"},
        {"max_tokens": 0},
        {"max_tokens": 1.5},
        {"max_tokens": True},
        {"sample": 0},
        {"pack": 0},
        {"pack": 101},
        {"pack": "all"},
        {"concurrency": 0},
        {"concurrency": "lots"},
        {"timeout": 0},
        {"timeout": "inf"},
        {"timeout": "soon"},
        {"effort": "hihg"},
        {"thinking": "on"},
        {"on_error": "halt"},
        {"model": " "},
        {"model": 5},
        {"column": ""},
        {"base_url": "localhost:8080"},
        {"system": 5},
        {"fresh": "no"},
        {"batch": 2},
        {"to": 5},
        {"to": b"out.csv"},
        {"to": "a\0b.csv"},
        {"report": "x" * 5_000},
        {"base_url": 5},
        {"timeout": True},
        {"timeout": 10**400},
        {"executor": pd.DataFrame({"name": ["dask"]})},
        {"effort": pd.Series(["high"])},
        {"budget": pd.NA},
        {"by": pd.Index(["text"])},
    ],
    ids=lambda given: next(iter(given)),
)
def test_what_cant_be_meant_is_an_error_that_names_its_flag(given: dict[str, Any]) -> None:
    ((name, _),) = given.items()
    with pytest.raises(ConfigurationError, match="--" + name.replace("_", "-")):
        Options.of(given)


def test_a_near_miss_of_a_choice_is_named() -> None:
    with pytest.raises(ConfigurationError, match="Did you mean 'high'"):
        Options(effort="hihg")


@pytest.mark.parametrize(
    ("given", "local", "tokens"),
    [
        ({}, None, 1024),
        ({}, 256, 256),
        ({"max_tokens": 5}, 256, 5),
        ({"thinking": "auto"}, None, 8192),
        ({"model": "claude-opus-5-5"}, None, 8192),
        ({"model": "claude-fable-5-2"}, None, 8192),
        ({"model": "claude-mythos-5-2"}, None, 8192),
        ({"model": "claude-sonnet-5-5"}, None, 1024),
        ({"model": "claude-opus-5-5", "max_tokens": 7}, None, 7),
    ],
)
def test_max_tokens_is_larger_where_the_model_thinks(
    given: dict[str, Any], local: int | None, tokens: int
) -> None:
    assert Options.of(given).answer_tokens(local) == tokens


def test_width_is_what_was_asked_for_or_what_the_answerer_has() -> None:
    assert Options(concurrency=3).width(most=4) == 3
    assert Options().width(most=4) == 4
    assert Options().width() == 256


@pytest.mark.parametrize(
    ("given", "width", "rows"),
    [
        ({}, 256, 256),
        ({"pack": 20}, 256, 5_120),
        ({"pack": 100}, 256, 5_120),
        ({"pack": 100, "concurrency": 256}, 256, 25_600),
        ({"pack": 2, "concurrency": 3}, 3, 6),
    ],
    ids=str,
)
def test_so_many_rows_are_on_their_way_at_once(
    given: dict[str, Any], width: int, rows: int
) -> None:
    assert Options(**given).rows_at_once(width) == rows


def test_packs_and_batches_exclude_each_other() -> None:
    with pytest.raises(ConfigurationError, match="--pack and --batch can't go together"):
        Options(pack=2, batch=True)
    assert Options(pack=1, batch=True).batch


EXAMPLES: dict[str, Any] = {
    "attach": "a.txt",
    **{"batch": True, "pack": 2, "by": "brand", "to": "x.csv", "examples": "labeled"},
    **{"schema": "a: int", "evidence": "all", "require_evidence": True, "shots": 3},
    **{"votes": 3, "models": "a,b"},
    **{"group_tokens": 50, "split": "auto"},
}


def needed_by(name: str) -> dict[str, Any]:
    """What has to be given for an option to be."""
    needed = NEEDS.get(name)
    return {} if needed is None else {needed: EXAMPLES[needed], **needed_by(needed)}


@pytest.mark.parametrize("conflict", CONFLICTS, ids=lambda it: f"{it.one} {it.other}")
def test_options_that_can_t_go_together_are_refused_in_one_line_that_names_both(
    conflict: Any,
) -> None:
    given = {name: value or EXAMPLES[name] for name, value in conflict.sides}
    needed = {key: value for name in given for key, value in needed_by(name).items()}
    with pytest.raises(ConfigurationError) as caught:
        Options.of(needed | given)
    assert str(caught.value).startswith(f"{conflict.one} and {conflict.other} can't go together: ")
    assert "\n" not in str(caught.value)
    for name, value in given.items():
        alone = {name: value, **needed_by(name)}
        assert Options.of(alone).given(name), "each of them alone is fine"


@pytest.mark.parametrize(("name", "needed"), NEEDS.items())
def test_what_says_something_of_another_option_is_refused_without_it(
    name: str, needed: str
) -> None:
    value = OPTIONS[name].choices[0] if OPTIONS[name].choices else EXAMPLES[name]
    with pytest.raises(
        ConfigurationError, match=f"and there (is|are) no {needed}: give --{needed} "
    ):
        Options.of({name: value})
    assert Options.of({name: value, **needed_by(name)}).given(name)


def test_a_frame_is_given_without_being_compared() -> None:
    assert Options(examples=pd.DataFrame({"text": ["a"]})).given("examples")
    assert not Options().given("examples")


# --- one declaration for every surface


def test_the_keywords_of_a_pipeline_are_the_declared_ones_with_their_defaults() -> None:
    signature = inspect.signature(Pipeline)
    keywords = {name: each for name, each in OPTIONS.items() if each.on(Surface.KEYWORD)}
    assert set(keywords) == {each.name for each in fields(Options)}
    assert "options" not in signature.parameters
    for name, each in keywords.items():
        assert signature.parameters[name].default == each.default == getattr(Options(), name)
        assert f"\n    {name}: {each.help_line}" in str(Pipeline.__doc__)


@pytest.mark.slow
def test_an_option_s_help_stands_in_its_declaration_and_nowhere_else() -> None:
    said = {each.help for each in OPTIONS.values()}
    root = Path(ondine_nb.__file__).parent
    for path in root.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts = {str(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        if path != root / "pipeline" / "options.py":
            assert not texts & said, path


def test_no_two_options_share_a_flag() -> None:
    flags = [flag for each in OPTIONS.values() for flag in each.flags]
    assert len(flags) == len(set(flags))
