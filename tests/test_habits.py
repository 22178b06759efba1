"""What a contributor meets: hooks before a commit, forms for issues, notebooks without outputs."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import ROOT

HOOKS = ROOT / ".pre-commit-config.yaml"
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def hooks() -> list[dict[str, Any]]:
    return [hook for repository in loaded(HOOKS)["repos"] for hook in repository["hooks"]]


def test_pre_commit_takes_its_settings() -> None:
    command = [sys.executable, "-m", "pre_commit", "validate-config", str(HOOKS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_hooks_fetch_nothing_and_their_commands_are_installed_by_the_set_up() -> None:
    """An environment of ours stands for `.venv`, which the set-up makes."""
    assert {repository["repo"] for repository in loaded(HOOKS)["repos"]} == {"local"}
    for hook in hooks():
        command, *rest = hook["entry"].split()
        assert hook["language"] == "system"
        assert command.startswith(".venv/bin/")
        assert shutil.which(command.split("/")[-1], path=Path(sys.executable).parent), command
        assert all((ROOT / word).is_file() for word in rest if word.endswith(".py"))


def test_hooks_check_what_ci_checks() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in ("ruff check", "ruff format", "mypy"):
        assert f".venv/bin/{command}" in ci
        assert any(hook["entry"].startswith(f".venv/bin/{command}") for hook in hooks())


def checked(*paths: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/notebooks.py", *map(str, paths)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_notebooks_are_saved_without_outputs() -> None:
    done = checked(*NOTEBOOKS)
    assert NOTEBOOKS
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "change", [{"outputs": [{"output_type": "stream"}]}, {"execution_count": 3}]
)
def test_a_notebook_that_was_run_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    notebook = json.loads(NOTEBOOKS[0].read_text(encoding="utf-8"))
    next(cell for cell in notebook["cells"] if cell["cell_type"] == "code").update(change)
    path = tmp_path / "run.ipynb"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    done = checked(NOTEBOOKS[0], path)
    assert done.returncode == 1
    assert "run.ipynb: 1 cells were run" in done.stdout


def test_every_form_asks_for_what_the_doctor_prints_and_is_one_that_can_be_shown() -> None:
    """By the rules of issue forms: known kinds, ids that differ, a label for each field."""
    forms = [loaded(path) for path in FORMS if path.name != "config.yml"]
    assert len(forms) == 2
    for form in forms:
        assert form["name"]
        assert form["description"]
        asked = [each for each in form["body"] if each["type"] != "markdown"]
        assert {each["type"] for each in asked} <= {"textarea", "input", "dropdown", "checkboxes"}
        assert all(each["attributes"]["label"] for each in asked)
        assert len({each["id"] for each in asked}) == len(asked)
        assert any("%ondine doctor" in each["attributes"]["label"] for each in asked)


CLOCKS = {"monotonic", "perf_counter", "time"}


def is_clock(node: ast.AST) -> bool:
    """`time.monotonic()`, or of another name that tells the time of a wall."""
    if not isinstance(node, ast.Call) or node.args:
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
    return name in CLOCKS and not ast.unparse(node.func).startswith("loop")


def took(node: ast.AST) -> bool:
    """Whether it is what has passed since then: `time.monotonic() - begun`."""
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and is_clock(node.left)


def timed(tree: ast.AST) -> list[int]:
    """The lines that want something to have taken less than some seconds."""
    spans = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and took(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        and isinstance(node.ops[0], ast.Lt | ast.LtE)
        and (took(node.left) or (isinstance(node.left, ast.Name) and node.left.id in spans))
    ]


def test_no_test_wants_anything_to_take_less_than_a_time() -> None:
    """A busy machine takes any time; what must come is waited for (`tests/patience.py`)."""
    assert timed(ast.parse("assert monotonic() - begun < 3"))
    assert timed(ast.parse("seconds = time.perf_counter() - begun\nassert seconds <= limit"))
    texts = {path: path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    found = {
        f"{path.relative_to(ROOT)}:{line}"
        for path, text in texts.items()
        if any(f"{clock}()" in text for clock in CLOCKS)
        for line in timed(ast.parse(text))
    }
    assert found == set()


def matrix() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "matrix"))


def test_the_matrix_finds_the_python_that_runs_this_and_none_that_is_too_old() -> None:
    found = matrix()["pythons"]()
    assert found[sys.version_info[:2]] == sys.executable
    assert min(found) >= (3, 11)


def test_what_the_quick_matrix_leaves_out_is_there_to_be_left_out() -> None:
    assert all((ROOT / "tests" / name).exists() for name in matrix()["SLOW"])


def test_every_command_that_contributors_are_told_is_there() -> None:
    pages = [ROOT / name for name in ("CONTRIBUTING.md", "RELEASING.md")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    for command in set(re.findall(r"\.venv/bin/([\w-]+)", text)):
        assert shutil.which(command, path=Path(sys.executable).parent), command
    for module in set(re.findall(r"python -m (\w+) ", text)):
        assert importlib.util.find_spec(module), module
    for script in set(re.findall(r"(?<![\w/])((?:scripts|\.ci)/\w+)", text)):
        assert (ROOT / script).is_file(), script


def test_no_model_that_the_provider_ends_is_named() -> None:
    """By the list in its SDK: what comes next goes by the names that one can still ask."""
    from anthropic._data import DEPRECATED_MODELS

    written = [
        path
        for folder in ("ondine_nb", "tests", "docs", "notebooks")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".md", ".ipynb"}
    ]
    for path in [*written, ROOT / "README.md"]:
        names = set(re.findall(r"claude-[a-z]+-\d[\w-]*", path.read_text(encoding="utf-8")))
        assert not names & set(DEPRECATED_MODELS), path
    assert DEPRECATED_MODELS
