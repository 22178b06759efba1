"""`%ondine review`, `score`, `labels` and `tries`: what was judged here; what Tab offers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ..data import frames_in, kind_of, wrap
from ..errors import ConfigurationError, nearest
from ..evaluation import Tries, Try, label_sets, try_sets, with_changes
from ..pipeline import Run, labels
from .ui import MISSING, clean, money, span

__all__ = [
    "examples_named",
    "judging_candidates",
    "labels_line",
    "result_named",
    "review_line",
    "run_named",
    "runs_in",
    "score_line",
    "tries_line",
]

_OF_A_RUN = ("labels", "resume", "review", "score", "show", "stop", "tries")
_WIDEST = 56  # characters of what a try has changed, and of its note


def runs_in(namespace: Mapping[str, Any]) -> dict[str, Run]:
    """The runs of a notebook by the names of their results: `labeled_run` is that of `labeled`."""
    # A copy first: other threads bind names too.
    runs = [(name, value) for name, value in list(namespace.items()) if isinstance(value, Run)]
    return {name.removesuffix("_run"): run for name, run in runs}


def run_named(name: str, namespace: Mapping[str, Any]) -> Run:
    """The run whose result is called `name`, or that is itself. Raises `ConfigurationError`."""
    runs = runs_in(namespace)
    found = runs.get(name) or runs.get(name.removesuffix("_run"))
    if found is None:
        near = nearest(name, runs)
        there = f" ({', '.join(runs)})" if runs else ""
        hint = f": did you mean '{near}'?" if near else there
        raise ConfigurationError(
            f"no run '{name}' in this notebook{hint}. Run its cell again: what is answered is "
            "not paid again"
        )
    return found


def result_named(name: str, namespace: Mapping[str, Any]) -> Any:
    """The run of that name, or else the frame. Raises `ConfigurationError` for neither."""
    run, found = runs_in(namespace).get(name.removesuffix("_run")), namespace.get(name)
    if run is not None or kind_of(found) is not None:
        return found if run is None else run
    near = nearest(name, [*runs_in(namespace), *frames_in(namespace)])
    hint = f"did you mean {near!r}?" if near else "give the OUT of a cell, or a frame"
    raise ConfigurationError(f"there is no result {name!r}: {hint}" if name else f"which? {hint}")


def examples_named(given: Any, namespace: Mapping[str, Any]) -> Any:
    """What `--examples` names: a label set by its name, else the frame of that name.

    Raises `ConfigurationError` for the result of a run that nobody has labelled: what stands there
    is the model's own.
    """
    if not isinstance(given, str):
        names = (name for name, known in list(namespace.items()) if known is given)
        name = next((name for name in names if not name.startswith("_")), "examples")
        return given if kind_of(given) is None else wrap(given, name)
    frame = namespace.get(given)
    if given in label_sets() or kind_of(frame) is None:
        return given
    if (run := runs_in(namespace).get(given)) is not None and given == run.name:
        raise ConfigurationError(
            f"--examples {given}: the answers there are the model's own, and none is labelled: "
            f"label some with %ondine review {given}, or give ${given} to show them as they are"
        )
    return wrap(frame, given)


def score_line(rest: str, namespace: Mapping[str, Any]) -> Any:
    """`OUT [FIELD] [--labels X]`: the scores. X is a column, a frame's or a Series' name."""
    words, given = _words(rest), None
    if "--labels" in words:
        at = words.index("--labels")
        if at + 1 == len(words):
            raise ConfigurationError("--labels needs a column of the frame, or a frame of labels")
        given = words[at + 1]
        del words[at : at + 2]
    if not 1 <= len(words) <= 2:
        raise ConfigurationError("write it like %ondine score OUT [FIELD] [--labels COLUMN]")
    run = run_named(words[0], namespace)
    field = words[1] if len(words) == 2 else None
    return run.score(field, labels=_labels_of(given, run, namespace))


def _labels_of(text: str | None, run: Run, namespace: Mapping[str, Any]) -> Any:
    """A column's name as it is; else the object of that name."""
    if text is None or text in run.pipeline.source.columns:
        return text
    name = text.removeprefix("$")
    if name in namespace:
        return namespace[name]
    if text.startswith("$"):
        raise ConfigurationError(f"--labels: there is no variable '{name}' in this notebook")
    return text


def labels_line(rest: str, namespace: Mapping[str, Any]) -> Any:
    """`OUT`: the labels of its run as a frame; without one, those that lie under this name."""
    words = _words(rest)
    if len(words) != 1:
        raise ConfigurationError("write it like %ondine labels OUT")
    run = runs_in(namespace).get(words[0].removesuffix("_run"))
    return labels(words[0]) if run is None else run.labels


def tries_line(rest: str) -> str:
    """`FRAME`: the tries of the workbench over the frame of that name, the last one first."""
    name = rest.strip().strip("\"'")
    if not name:
        there = try_sets()
        known = f": {', '.join(there)}" if there else ""
        raise ConfigurationError(f"write it like %ondine tries FRAME{known}")
    tries = Tries(name)
    if not len(tries):
        near = nearest(name, try_sets())
        hint = f"did you mean {near!r}?" if near else f"preview a prompt in %ondine panel {name}"
        return f"no tries of {clean(name)} yet: {hint}"
    heads = ("", "changed", "model", "rows", "right", "macro F1", "$/1,000 rows", "p50", "note")
    table = [heads, *(_try_cells(*each) for each in reversed(with_changes(tries.tries)))]
    return "\n".join([*_aligned(table), *tries.damaged])


def _try_cells(found: Try, changed: str) -> tuple[str, ...]:
    part = f" of {found.rows:,}" if found.answered < found.rows else ""
    score = found.scores[0] if found.scores else None
    cost = found.usd_per_1000
    return (
        found.name,
        clean(changed, _WIDEST),
        clean(found.model, 32),
        f"{found.answered:,}{part}",
        MISSING if score is None or score.value is None else str(score),
        MISSING if score is None or score.macro_f1 is None else f"{score.macro_f1:.2f}",
        MISSING if cost is None else money(cost),
        MISSING if found.p50 is None else span(found.p50),
        clean(found.note, _WIDEST),
    )


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, its columns as wide as their longest cell; empty columns are left out."""
    columns = [column for column in zip(*table, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    rows = zip(*columns, strict=True)
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def review_line(rest: str, namespace: Mapping[str, Any]) -> None:
    """`OUT [--reviewer NAME]`: shows the review of its run."""
    match _words(rest):
        case [out]:
            run_named(out, namespace).review()
        case [out, "--reviewer", reviewer]:
            run_named(out, namespace).review(reviewer)
        case _:
            raise ConfigurationError("write it like %ondine review OUT [--reviewer NAME]")


def _words(rest: str) -> list[str]:
    try:
        return shlex.split(rest)
    except ValueError as error:
        raise ConfigurationError(f"a quote isn't closed ({error}): {rest}") from None


def judging_candidates(line: str, namespace: Mapping[str, Any]) -> list[str]:
    """What the last word of a line `%ondine COMMAND …` can become, behind the command."""
    known = re.fullmatch(r"\s*%ondine\s+(\w+)\s+(.*)", line)
    if known is None or known[1] not in _OF_A_RUN:
        return []
    command, (*before, word) = known[1], known[2].split(" ")
    before = [each for each in before if each]
    if not before and command == "tries":
        names = list(dict.fromkeys([*try_sets(), *frames_in(namespace)]))
        return [name for name in names if name.startswith(word)]
    if not before:
        others = {"labels": label_sets, "show": lambda: frames_in(namespace)}
        more = others[command]() if command in others else []
        names = list(dict.fromkeys([*runs_in(namespace), *more]))
        return [name for name in names if name.startswith(word)]
    run = runs_in(namespace).get(before[0].removesuffix("_run"))
    if command == "review" and len(before) == 1:
        return [name for name in ("--reviewer",) if name.startswith(word)]
    if command != "score" or run is None:
        return []
    if before[-1] == "--labels":
        names = [*run.pipeline.source.columns, *frames_in(namespace)]
    else:
        fields = run.columns if len(before) == 1 else ()
        names = [*fields, *(["--labels"] * ("--labels" not in before))]
    return [name for name in names if name.startswith(word)]
