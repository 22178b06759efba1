"""The picture in `docs/architecture.md` equals the imports, and a row goes the way it shows."""

from __future__ import annotations

import ast
import functools
import os
import re
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import ondine_nb
from tests.asking import Asker, texts
from tests.docs.generate import PICTURE
from tests.docs.pages import DOCS
from tests.docs.picture import WAY, rooms, svg
from tests.server import MessagesServer
from tests.test_layers import WAYS_UP, room

ROOT = Path(ondine_nb.__file__).parent
PAGE = DOCS / "architecture.md"
AGAIN = "run python -m tests.docs.generate"
_IMPORT = re.compile(r"^\s*(?:from|import)\s+(\.+)([\w.]*)", re.MULTILINE)


@pytest.mark.slow
def test_the_picture_is_as_it_would_be_drawn_now() -> None:
    assert PICTURE.read_text(encoding="utf-8") == svg(), AGAIN


@pytest.mark.slow
def test_every_dot_is_an_import_and_every_import_a_dot() -> None:
    """By the text of the sources: not by the reader that the picture is drawn with."""
    drawn = re.findall(r'data-from="(\w+)" data-to="(\w+)"', PICTURE.read_text(encoding="utf-8"))
    assert set(drawn) == set(_imports())
    assert len(drawn) == len(set(drawn))


@functools.cache
def _imports() -> set[tuple[str, str]]:
    found = set()
    for path in ROOT.rglob("*.py"):
        inside = path.relative_to(ROOT).parts
        if inside == ("__init__.py",):
            continue
        for dots, name in _IMPORT.findall(_code(path)):
            above = len(dots) - 1 == len(inside) - 1
            target = name.split(".")[0] if above and name else ""
            if target in rooms():
                found.add((inside[0].removesuffix(".py"), target))
    return found


def _code(path: Path) -> str:
    """The statements that import, without strings that look like one."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.Import, ast.ImportFrom)
    return "\n".join(ast.unparse(node) for node in ast.walk(tree) if isinstance(node, kinds))


def test_no_dot_is_to_the_right_of_its_step() -> None:
    order = {name: at for at, name in enumerate(rooms())}
    up = {(origin, target) for origin, target in _imports() if order[target] > order[origin]}
    assert up == {(room(file), face.split(".")[0]) for file, face in WAYS_UP}


def test_a_row_goes_the_way_of_the_picture(server: MessagesServer, tmp_path: Path) -> None:
    """One row, with every function that is called noted down as a debugger would see it."""
    called: dict[tuple[str, str], int] = {}

    def note(frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(inside):
            place = file.removeprefix(inside).split(os.sep)[0].removesuffix(".py")
            called.setdefault((place, frame.f_code.co_qualname), len(called))

    asker, inside = Asker(server, tmp_path), str(ROOT) + os.sep
    options = {"schema": "mood: good|bad", "budget": 1, "executor": "sync"}
    asker.run(texts(1), **options)  # imports what is imported on first use
    asker.end_process()  # only threads that start from here on are watched, the journal's too
    threading.setprofile(note)
    try:
        job = asker.pipeline(texts(1, start=1), **options).plan()
        result = job.executor.execute(job.stages, job.context)
    finally:
        threading.setprofile(None)
    assert result.success  # type: ignore[union-attr]
    steps = [(place, function) for _, place, function in WAY]
    assert [step for step in steps if step not in called] == []
    assert sorted(steps, key=called.__getitem__) == steps


def test_everything_that_a_newcomer_looks_for_is_where_the_page_says() -> None:
    page = (PAGE).read_text(encoding="utf-8")
    asked = re.findall(r"^\| [^|]+\? \| (.*) \|$", page, re.MULTILINE)
    assert len(asked) == 6
    for answer in asked:
        paths = re.findall(r"`(ondine_nb/[\w/]+\.py)`", answer)
        assert paths
        assert [path for path in paths if not (ROOT.parent / path).is_file()] == []


def test_the_words_that_are_ours_fit_on_25_lines() -> None:
    words = PAGE.read_text(encoding="utf-8").split("## Words that are ours")[1].split("\n## ")[0]
    assert 5 < len(re.findall(r"^\| ", words, re.MULTILINE)) <= 25
