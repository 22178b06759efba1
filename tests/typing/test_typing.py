"""The public API keeps its types, under mypy (which `.ci/run` calls) and under pyright."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import ondine_nb

ROOT = Path(__file__).parents[2]
TOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
HERE = Path(__file__).parent
# What users and writers of stages, observers and providers hold in their hands. Beyond it there are
# widgets and traits, of libraries without types.
HELD = (
    "ondine_nb.data",
    "ondine_nb.errors",
    "ondine_nb.models",
    "ondine_nb.notebook.workbench.panel",
    "ondine_nb.orchestration",
    "ondine_nb.pipeline",
    "ondine_nb.prompts.schema",
    "ondine_nb.providers.anthropic",
    "ondine_nb.providers.base",
    "ondine_nb.providers.choose",
    "ondine_nb.providers.local.process",
    "ondine_nb.providers.pricing",
    "ondine_nb.stages.load",
    "ondine_nb.stages.parse",
    "ondine_nb.stages.prompt",
)
# Here the types of attributes are said by what is assigned alone.
INFERRED = {"logger", "local_face"}


def pyright(*arguments: str) -> dict[str, Any]:
    """What basedpyright reports: pyright, with its own JavaScript in the wheel."""
    command = [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, "--outputjson"]
    # The sources first: an editable install leaves a folder of the same name with notebooks only.
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, env=surroundings, capture_output=True, text=True
    )
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_mypy_is_given_this_folder_too() -> None:
    assert TOOLS["mypy"]["packages"] == ["ondine_nb", "tests.typing"]
    assert TOOLS["mypy"]["strict"]
    assert re.search(r"^\.venv/bin/mypy( >|$)", (ROOT / ".ci" / "run").read_text("utf-8"), re.M)


def test_pyright_agrees_with_every_type_that_is_said_here() -> None:
    report = pyright()
    files = {path.name for path in HERE.glob("*.py")}
    assert report["summary"]["filesAnalyzed"] == len(files)
    wrong = [each for each in report["generalDiagnostics"] if each["severity"] == "error"]
    assert [f"{Path(e['file']).name}:{e['range']['start']}: {e['message']}" for e in wrong] == []


def test_what_users_hold_in_their_hands_has_types_that_every_checker_sees_alike() -> None:
    """By pyright's own measure for packages with `py.typed`: what things are made of counts too."""
    found = pyright("--verifytypes", "ondine_nb", "--ignoreexternal")["typeCompleteness"]
    assert found["exportedSymbolCounts"]["withKnownType"] > 2000
    assert found["exportedSymbolCounts"]["withUnknownType"] == 0
    doubtful = {each["name"] for each in found["symbols"] if each["isTypeAmbiguous"]}
    held = {name for name in doubtful if name.startswith(tuple(f"{module}." for module in HELD))}
    held |= doubtful & {f"ondine_nb.{name}" for name in ondine_nb.__all__}
    assert {name for name in held if not INFERRED & set(name.split("."))} == set()
