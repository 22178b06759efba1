"""Options that change how rows become requests: each pair works or is refused, as docs say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ondine_nb.errors import ConfigurationError
from ondine_nb.orchestration import DaskExecutor
from ondine_nb.pipeline import COMBINED, OPTIONS, conflict
from ondine_nb.prompts import parse_schema
from ondine_nb.stages.batch import BatchPolicy
from ondine_nb.stages.batch import plan as batching
from tests.asking import Asker, texts
from tests.docs.generate import PARTS
from tests.server import MessagesServer, echo_of, value_of
from tests.server.answers import default_answer, prompt_of, schema_of
from tests.server.batches import BatchRules

PAIRS = [
    (one, other) for one, other in combinations(COMBINED, 2) if one.split()[0] != other.split()[0]
]
ROWS = texts(9).assign(said=texts(9)["text"])
GUIDE = "What words mean is said here.\n\n"
NEEDY = frozenset({"--evidence", "--votes", "--models"})  # of a schema
SCHEMA = parse_schema("response: str").json_schema
LABELLED = pd.DataFrame(
    {
        "text": ["the first of all", "something else", "words and numbers", "a last one of them"],
        "response": ["one", "two", "three", "four"],
    }
)


def answer(prompt: str) -> dict[str, str]:
    """An answer with evidence: it quotes all that it was asked about."""
    return {"response": echo_of(prompt), "response_evidence": prompt.rpartition("Tell: ")[2]}


def reply(body: Any) -> str:
    prompt = prompt_of(body)
    schema = schema_of(body)
    alone = schema is not None and "response" in schema["properties"]
    return json.dumps(answer(prompt)) if alone else default_answer(body)


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(batches=BatchRules(delay=0.05), answer=reply) as running:
        yield running


@pytest.fixture(autouse=True)
def pace(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = BatchPolicy(first=0.02, longest=0.1, grace=0.3, patience=5)
    monkeypatch.setattr(batching, "PACE", quick)


def _guide(folder: Path) -> Path:
    guide = folder / "guide.txt"
    guide.write_text(GUIDE, encoding="utf-8")
    return guide


def _given(pair: tuple[str, str], folder: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The keywords that a pair stands for."""
    examples: dict[str, Any] = {
        "--batch": True,
        "--pack": 4,
        "--attach": _guide(folder),
        "--by": "text",
        "--examples": LABELLED,
        "--to": folder / "out.csv",
        "--split": 200,
        "--evidence": "all",
        "--votes": 3,
        "--models": "claude-haiku-5-5,claude-sonnet-5-5",
    }
    given: dict[str, Any] = {"schema": "response: str"} if NEEDY.intersection(pair) else {}
    if "--examples-by nearest" in pair:
        given["examples"] = LABELLED
    for flag, _, value in (each.partition(" ") for each in pair):
        name = next(option.name for option in OPTIONS.values() if flag == option.long)
        given[name] = value or examples[flag]
    if given.get("executor") == "dask" and conflict(*pair) is None:
        given["executor"] = DaskExecutor(request.getfixturevalue("two_dask_workers"))
    return given


@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_each_pair_gives_every_row_its_own_answer_or_is_refused_before_anything_is_sent(
    pair: tuple[str, str],
    server: MessagesServer,
    home: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    asker, given = Asker(server, home), _given(pair, tmp_path, request)
    prompt = "Tell: {text}"
    if "by" in given:  # a group for each text, of which another column is asked
        prompt = "Tell: {said}"
    if conflict(*pair) is not None:
        with pytest.raises(ConfigurationError, match="can't go together: leave ") as caught:
            asker.pipeline(ROWS, prompt, **given)
        assert all(each in str(caught.value) for each in pair)
        assert server.arrived == 0
        return
    run = asker.run(ROWS, prompt, **given)
    assert run.error is None
    assert run.state == "done"
    frame = pd.read_csv(given["to"]) if "to" in given else run.frame
    assert list(frame["text"]) == list(ROWS["text"])
    examples = asker.pipeline(ROWS, prompt, **given).examples
    cells = [(text,) for text in ROWS["text"]]
    shown = [""] * len(ROWS) if examples is None else examples.before(cells)
    guide = GUIDE if "attach" in given else ""
    tell = "Tell: 1. " if "by" in given else "Tell: "
    asked = zip(shown, cells, strict=True)
    prompts = [f"{guide}{before}{tell}{text}" for before, (text,) in asked]
    if not NEEDY.intersection(pair):
        assert list(frame["response"]) == list(map(echo_of, prompts))
        return
    alone = [answer(prompt)["response"] for prompt in prompts]
    packed = [value_of(SCHEMA, prompt)["response"] for prompt in prompts]
    if "--pack" in pair:  # the last row of a vote goes alone
        said = zip(frame["response"], alone, packed, strict=True)
        assert all(each in either for each, *either in said)
    else:
        assert list(frame["response"]) == alone
    if "--evidence" in pair:
        assert list(frame["response_evidence"]) == list(ROWS["text"])
    votes = given.get("votes", 1) * (2 if "models" in given else 1)
    if votes > 1:
        assert list(frame["response_agree"]) == [votes] * len(ROWS)


def test_the_table_of_the_docs_has_every_pair() -> None:
    table = PARTS["combinations"]()
    cells = [cell.strip() for cell in table.replace("\n", "|").split("|")]
    refused = [pair for pair in PAIRS if conflict(*pair)]
    assert cells.count("refused") == len(refused) == PARTS["refusals"]().count(" and `--")
    assert cells.count("works") == len(PAIRS) - len(refused)
