"""Drafts that last: what was on a bench is found again by the same start, and never a key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.notebook.workbench.kept import KeptDraft

TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
DRAFTS = st.dictionaries(
    st.sampled_from(["prompt", "schema", "sample", "texts"]),
    TEXTS | st.integers(0, 99) | st.dictionaries(TEXTS, TEXTS, max_size=3),
)


def kept(folder: Path, **start: Any) -> KeptDraft:
    return KeptDraft(folder, "reviews", {"prompt": "Tell {text}", **start})


@given(draft=DRAFTS)
def test_what_was_kept_is_read_again(tmp_path_factory: Any, draft: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("home")
    assert kept(folder).write(draft)
    assert kept(folder).read() == draft


def test_another_start_is_another_draft_and_the_same_one_comes_back(tmp_path: Path) -> None:
    kept(tmp_path).write({"prompt": "mine"})
    other = kept(tmp_path, options={"model": "claude-sonnet-5-5"})
    assert other.read() == {}
    other.write({"prompt": "another"})
    assert kept(tmp_path).read() == {"prompt": "mine"}


def test_a_text_with_a_key_in_it_is_left_out_and_the_rest_is_kept(tmp_path: Path) -> None:
    key = "sk-ant-api03-abcdefghij"
    assert not kept(tmp_path).write({"prompt": f"Tell {key}", "out": "labeled"})
    assert kept(tmp_path).read() == {"out": "labeled"}
    assert not any(key in it.read_text() for it in tmp_path.rglob("*") if it.is_file())


def test_a_file_that_is_no_draft_is_none_and_one_that_can_t_be_written_is_no_error(
    tmp_path: Path,
) -> None:
    draft = kept(tmp_path)
    assert draft.read() == {}
    draft.write({"prompt": "a"})
    for text in ("", "[]", '{"format": 9, "draft": {}}', '{"format": 1, "draft": []}', "{" * 9999):
        draft.path.write_text(text)
        assert draft.read() == {}
    blocked = tmp_path / "a file"
    blocked.write_text("")
    assert not KeptDraft(blocked, "reviews", {}).write({"prompt": "a"})


def test_it_is_replaced_as_a_whole(tmp_path: Path) -> None:
    draft = kept(tmp_path)
    for number in range(3):
        draft.write({"prompt": str(number)})
    assert [it.name for it in draft.path.parent.iterdir()] == [draft.path.name]
    assert json.loads(draft.path.read_text())["draft"] == {"prompt": "2"}
