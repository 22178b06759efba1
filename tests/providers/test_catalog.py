"""The kept list of models: what it says of a model, and what is refused before anything is sent."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ondine_nb.errors import ConfigurationError
from ondine_nb.providers import Model, keep, kept
from tests.asking import Asker, texts
from tests.server import MessagesServer

NEW = {
    "id": "claude-new-9",
    "lifecycle": "active",
    "max_input_tokens": 1_000_000,
    "max_tokens": 4000,
    "retires_at": None,
    "capabilities": {
        "effort": {
            "supported": True,
            "low": {"supported": True},
            "max": {"supported": False},
            "xhigh": None,
        },
        "structured_outputs": {"supported": False},
    },
}
OLD = {"id": "claude-old-1", "lifecycle": "retired", "retires_at": "2026-09-01T00:00:00Z"}


@pytest.fixture
def asker(server: MessagesServer, home: Path) -> Asker:
    keep(home, server.url, [NEW, OLD])
    return Asker(server, home)


def test_a_list_is_found_again_by_its_server_with_the_day_it_was_had(home: Path) -> None:
    keep(home, "anthropic", [NEW])
    keep(home, "https://user:secret@gateway", [OLD])
    found, other = kept(home, "anthropic"), kept(home, "https://user:secret@gateway")
    assert found is not None
    assert other is not None
    assert abs((found.as_of - date.today()).days) <= 1
    assert [model.id for model in found.models] == ["claude-new-9"]
    assert [model.id for model in other.models] == ["claude-old-1"]
    assert kept(home, "https://another") is None
    assert "secret" not in (home / "models.json").read_text()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"format": 99}', '{"format": 1, "servers": {"anthropic": {"as_of": 7}}}'],
)
def test_a_copy_that_can_t_be_read_counts_for_nothing_and_is_replaced(
    home: Path, text: str
) -> None:
    home.mkdir(parents=True)
    (home / "models.json").write_text(text)
    assert kept(home, "anthropic") is None
    keep(home, "anthropic", [NEW])
    assert kept(home, "anthropic") is not None


def test_what_is_no_model_is_left_out(home: Path) -> None:
    listed = keep(home, "x", [{"name": "?"}, NEW, {"id": "a", "retires_at": "soon"}, {"id": "b"}])
    assert [model.id for model in listed.models] == ["claude-new-9", "b"]


def test_a_folder_that_can_t_be_written_only_costs_the_copy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert keep(tmp_path / "file", "x", [NEW]).models[0].id == "claude-new-9"


@pytest.mark.parametrize(
    ("lifecycle", "retires", "told"),
    [
        ("active", None, ""),
        ("active", "2027-01-02T00:00:00Z", "retires 02 Jan 2027"),
        ("deprecated", None, "deprecated"),
        ("deprecated", "2026-11-30T00:00:00Z", "deprecated, retires 30 Nov 2026"),
        ("retired", "2026-09-01T00:00:00Z", "retired 01 Sep 2026, answers no more"),
        ("retired", None, "retired, answers no more"),
    ],
)
def test_a_models_end_is_told_with_its_day(lifecycle: str, retires: str | None, told: str) -> None:
    assert Model.of({"id": "m", "lifecycle": lifecycle, "retires_at": retires}).end == told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"model": "claude-old-1"}, "'claude-old-1' is retired 01 Sep 2026"),
        ({"max_tokens": 4001}, "--max-tokens is 4,001, and 'claude-new-9' writes 4,000 at most"),
        ({"effort": "max"}, "--effort is 'max', and 'claude-new-9' takes low"),
        ({"effort": "xhigh"}, "--effort is 'xhigh', and 'claude-new-9' takes low"),
        ({"schema": "n: int"}, "can't be held to a schema"),
    ],
)
def test_what_a_model_won_t_take_is_refused_before_anything_is_sent(
    asker: Asker, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        asker.pipeline(texts(2), **{"model": "claude-new-9", **options})
    assert told in str(raised.value)
    assert "%ondine models" in str(raised.value)
    assert asker.server.arrived == 0


def test_what_a_model_takes_goes_and_so_do_models_that_aren_t_listed(asker: Asker) -> None:
    assert asker.run(texts(2), model="claude-new-9", max_tokens=4000, effort="low").state == "done"
    assert asker.run(texts(2), model="claude-unheard-of", effort="max").state == "done"


def test_a_default_gives_way_to_the_models_limit(asker: Asker, home: Path) -> None:
    keep(home, asker.server.url, [{**NEW, "max_tokens": 500}])
    asker.run(texts(1), model="claude-new-9")
    assert asker.server.requests[0].body["max_tokens"] == 500


def test_the_copy_is_json_of_what_the_server_said(home: Path) -> None:
    keep(home, "anthropic", [NEW])
    assert json.loads((home / "models.json").read_text())["servers"]["anthropic"]["models"] == [NEW]
