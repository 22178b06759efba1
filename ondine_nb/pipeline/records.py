"""What a later kernel needs to go on with a run: its settings and its frame's name and fingerprint.

The record is part of the run's checkpoint: a summary, never rows or keys. The answers are in the
journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Container, Coroutine, Iterator, Mapping, Sequence
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from ..data import Frame, kind_of, named_dtypes, wrap
from ..errors import CheckpointError, ConfigurationError, JournalError, nearest
from ..evaluation import Examples
from ..journal import Entry, Journal, home
from ..orchestration import ExecutionContext, LocalFileCheckpointStorage, StateManager
from ..prompts import as_text
from ..providers import Answer, ModelPrice, without_login
from ..sending import answer_in
from .options import Options

__all__ = [
    "check_examples",
    "check_frame",
    "check_question",
    "check_stages",
    "digests",
    "examples_frame",
    "find",
    "fold_records",
    "folded_names",
    "keeper",
    "needs_examples",
    "options_of",
    "recall_costs",
    "record",
    "recorded",
    "run_id",
    "same_question",
    "schema_class",
    "state_manager",
]

_VERSION = 1
_KEPT = 200  # records of ended runs
_KEPT_SECONDS = 30 * 24 * 3600  # one that never ended; results of a batch are kept for 29 days
_FOLDED = "folded.jsonl"
_FEW, _TURN_SECONDS = 50, 0.005  # rows of a frame that are read in one, and how long in a row


def state_manager(folder: Path) -> StateManager:
    """Where the runs of a journal folder are recorded: one file a run."""
    return StateManager(_Records(folder / "runs"))


def fold_records(folder: Path, kept: int = _KEPT) -> None:
    """Delete the records of old runs but for their names, which the cost report tells.

    The newest `kept` stay, and one of a run that never ended stays for a month. What each run has
    paid is the journal's, and stays. What can't be folded is left as it is.
    """
    runs = folder / "runs"
    paths = sorted(runs.glob("*.json"), key=_changed, reverse=True)[kept:]
    for path in reversed(paths):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            data = json.loads(path.read_text(encoding="utf-8"))["data"]
            if data["end_time"] or time.time() - _changed(path) > _KEPT_SECONDS:
                name = data["settings"].get("out", "")
                line = json.dumps({"run": run_id(UUID(path.stem)), "name": name})
                with (runs / _FOLDED).open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                path.unlink()


def folded_names(folder: Path) -> dict[str, str]:
    """The names of the results of runs whose records were folded, by the runs' ids."""
    names: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in (folder / "runs" / _FOLDED).read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # cut by a kill
                entry = json.loads(line)
                names[str(entry["run"])] = str(entry["name"])
    return names


class _Records(LocalFileCheckpointStorage):
    """Run records: without what stages of the user's own keep, which may be rows, or not JSON."""

    def save(self, session_id: UUID, data: dict[str, Any]) -> bool:
        return super().save(session_id, {**data, "intermediate_data": {}})


def run_id(session_id: UUID) -> str:
    """The short name of a run, as in its journal entries (12 hex digits)."""
    return session_id.hex[:12]


def record(
    *,
    name: str,
    frame: Frame,
    columns: Sequence[str],
    prompt: str,
    options: Options,
    question: str,
    provider: str,
    stages: Sequence[str],
    examples: Examples | None = None,
) -> dict[str, Any]:
    """The settings of a run as JSON. `columns` are those that the prompt reads."""
    return {
        "version": _VERSION,
        "out": name,
        "frame": {
            "name": name,
            "rows": len(frame),
            "columns": list(frame.columns),
            "read": list(columns),
            "digests": None,
        },
        "prompt": prompt,
        "options": _plain_options(options),
        "question": question,
        "provider": without_login(provider),
        "stages": list(stages),
        "examples": None if examples is None else _shown(examples, options),
    }


def _shown(examples: Examples, options: Options) -> dict[str, Any]:
    """What a later kernel knows the examples by; a frame it has to be given again."""
    return {
        "name": examples.name,
        "frame": not isinstance(options.examples, str),
        "fingerprint": examples.fingerprint,
    }


def _plain_options(options: Options) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for option in fields(options):
        value = getattr(options, option.name)
        if value is not None and not (option.name == "base_url" and _secret(value)):
            plain[option.name] = _plain(option.name, value)
    return plain


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, str | int | float):
        return value  # before `Mapping` is asked, which looks through all its classes for a float
    if isinstance(value, Decimal | Path):
        return str(value)
    if name == "examples":
        return getattr(value, "name", "examples")
    if name == "executor":
        return value.name
    if name == "params":
        return {key: as_text(each) for key, each in value.items()}
    if name == "attach":
        return [str(each) for each in value] if isinstance(value, list | tuple) else str(value)
    if name == "dtypes":
        return named_dtypes(value)
    if name == "schema" and isinstance(value, type):
        return {"model": value.__name__, "json_schema": value.model_json_schema()}  # type: ignore[attr-defined]
    return dict(value) if isinstance(value, Mapping) else value


def _secret(url: str) -> bool:
    """Whether a URL carries a password, which is no business of a record."""
    return urlsplit(url).password is not None


def options_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a recorded run, by name, as `Pipeline` takes them."""
    options = dict(settings["options"])
    if settings["provider"].startswith("local:"):  # it may have stood in for another
        options["model"] = "local"
    schema = options.get("schema")
    if isinstance(schema, dict) and set(schema) == {"model", "json_schema"}:
        options["schema"] = schema["json_schema"]
    return options


def recorded(run: str) -> dict[str, Any]:
    """The settings of a run that this process's journal folder has a record of."""
    return find(state_manager(home()), run).settings


def schema_class(
    settings: Mapping[str, Any], namespace: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """The pydantic model of the run's schema, by its name in a notebook, as an option."""
    schema = settings["options"].get("schema")
    name = schema.get("model") if isinstance(schema, dict) else None
    model = namespace.get(name) if isinstance(name, str) else None
    return {"schema": model} if isinstance(model, type) and "schema" not in given else {}


def examples_frame(
    settings: Mapping[str, Any], namespace: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """The frame of the run's examples, by its name in a notebook, as an option."""
    was = settings.get("examples") or {"frame": False, "name": ""}
    name = given.get("examples") if was["frame"] else None
    name = was["name"] if was["frame"] and name is None else name
    frame = namespace.get(name) if isinstance(name, str) else None
    return {} if kind_of(frame) is None else {"examples": wrap(frame, str(name))}


def digests(frame: Frame, columns: Sequence[str]) -> dict[str, str]:
    """A fingerprint of each column's values in row order (32 hex digits)."""
    found = {}
    for column in columns:
        digest = hashlib.blake2b(digest_size=16)
        for part in frame.iter_rows([column], size=10_000):
            for said in _said(part):
                digest.update(said.encode("utf-8", "surrogatepass"))
        found[column] = digest.hexdigest()
    return found


def _said(rows: list[tuple[Any, ...]]) -> Iterator[str]:
    """`repr(rows)` a few rows at a time: as a whole it would hold the loop for as long as it takes.

    Now and then the loop has its turn: a thread that doesn't wait lets it wait.
    """
    yield "["
    began = time.perf_counter()
    for start in range(0, len(rows), _FEW):
        few = repr(rows[start : start + _FEW])
        yield f"{', ' if start else ''}{few[1:-1]}"
        if time.perf_counter() - began > _TURN_SECONDS:
            time.sleep(_TURN_SECONDS / 10)
            began = time.perf_counter()
    yield "]"


def check_frame(settings: Mapping[str, Any], frame: Frame) -> None:
    """Raises `ConfigurationError`, naming what differs, where the frame isn't the run's."""
    was, name = settings["frame"], frame.name
    missing = [column for column in was["read"] if column not in frame.columns]
    if missing:
        raise _differs(name, f"it has no column '{missing[0]}'")
    if len(frame) != was["rows"]:
        raise _differs(name, f"it has {len(frame):,} rows, the run had {was['rows']:,}")
    now = digests(frame, was["read"]) if was["digests"] else {}
    for column, digest in now.items():
        if digest != was["digests"][column]:
            raise _differs(name, f"column '{column}' has other values")


def check_question(settings: Mapping[str, Any], here: str, questions: Mapping[str, str]) -> None:
    """Raises `ConfigurationError` where the same settings would ask something else `here`.

    `questions` has the digest of what is asked by what the provider is, and was, called.
    """
    if settings["provider"] not in questions:
        raise ConfigurationError(
            f"the run asked {settings['provider']}, and here {here} would answer. "
            "Set the same key or base URL as then, or give the model to go on with"
        )
    if settings["question"] != questions[settings["provider"]]:
        raise ConfigurationError(
            "the recorded settings can't be rebuilt here: give the same schema again "
            "(schema=Model), as the run had it"
        )


def needs_examples(settings: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raises `ConfigurationError` where the run's examples are a frame that isn't `given` again."""
    was = settings.get("examples")
    if was and was["frame"] and given.get("examples") is None:
        raise ConfigurationError(
            f"the run's examples are the frame {was['name']!r}, and a record holds no rows: give "
            "it again, by --examples or examples="
        )


def check_examples(
    settings: Mapping[str, Any], here: Examples | None, replaced: Container[str]
) -> None:
    """Raises `ConfigurationError` where the run has shown other examples than those `here`."""
    was = settings.get("examples")
    others = "shots" in replaced or "examples_by" in replaced
    if not was or here is None or others or ("examples" in replaced and not was["frame"]):
        return
    if here.fingerprint != was["fingerprint"]:
        which = "the frame" if was["frame"] else "the labels of"
        raise ConfigurationError(
            f"{which} {here.name!r} would show other examples than this run has shown: its labels "
            "have changed since. Give them as they were by examples=, or run the cell again, which "
            "asks all rows with the new ones"
        )


def check_stages(settings: Mapping[str, Any], stages: Sequence[str]) -> None:
    """Raises `ConfigurationError` where the run had other stages of the user's own."""
    if list(stages) != settings["stages"]:
        had = ", ".join(settings["stages"]) or "none"
        raise ConfigurationError(
            f"the run had these stages of its own: {had}. Give the same by stages=[…]"
        )


async def recall_costs(
    context: ExecutionContext,
    journal: Journal,
    price: ModelPrice | None,
    read: Callable[[bytes], Answer],
) -> None:
    """Add what the journal knows that the run has spent until now: exact to the last answer."""
    await journal.refresh()
    attempts: Counter[bytes] = Counter()

    def see(entry: Entry) -> None:
        if entry.readable or entry.cost is not None:
            attempt = attempts[entry.key] + 1
            attempts[entry.key] += entry.readable
            usage = answer_in(entry, read, priced=price is not None).usage
            cost = Decimal(entry.cost or 0)
            kinds = {} if price is None else price.by_kind(usage)
            if sum(kinds.values()) != cost:  # at other prices than today's
                kinds = {"earlier": cost}
            context.add_usage(cost, usage, "invoke", kinds, attempt)

    await journal.visit(run_id(context.session_id), see)


def _differs(name: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name} is not the frame of this run: {what}. Give the same data, or start a new run: "
        "a row whose prompt is the same comes from the journal"
    )


def find(manager: StateManager, run: str) -> ExecutionContext:
    """The newest recorded run with this id or this name of a result.

    Raises `ConfigurationError` where there is none, `CheckpointError` for one that is damaged.
    """
    wanted = str(run).removesuffix("_run")
    names = []
    for info in manager.list_checkpoints():
        context = manager.load_checkpoint(info.session_id)
        if context is None or context.settings.get("version") is None:
            continue
        names.append(context.settings["out"])
        if wanted in (context.settings["out"], run_id(info.session_id), str(info.session_id)):
            return _readable(context)
    near = nearest(wanted, names)
    hint = f" Did you mean {near}?" if near else ""
    known = f" Recorded: {', '.join(dict.fromkeys(names))}." if names else ""
    raise ConfigurationError(
        f"no run '{run}' is recorded in this journal folder.{known}{hint} "
        "Running its cell again does the same: what is answered isn't paid again"
    )


def same_question(folder: Path, settings: Mapping[str, Any], most: int = 50) -> list[str]:
    """The ids of the newest recorded runs that asked the same prompt with the same settings.

    `most` records are looked into; those that can't be read are passed over.
    """
    found = []
    storage = LocalFileCheckpointStorage(folder / "runs")
    for path in sorted(storage.checkpoint_dir.glob("*.json"), key=_changed, reverse=True)[:most]:
        with contextlib.suppress(CheckpointError, OSError, ValueError, AttributeError):
            was = (storage.load(UUID(path.stem)) or {}).get("settings", {})
            if all(was.get(name) == settings[name] for name in ("prompt", "question")):
                found.append(run_id(UUID(path.stem)))
    return found


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # deleted meanwhile
        return 0.0


def _readable(context: ExecutionContext) -> ExecutionContext:
    if context.settings["version"] > _VERSION:
        raise ConfigurationError(
            f"run {run_id(context.session_id)} was recorded by a newer ondine_nb. Upgrade, or run "
            "its cell again"
        )
    return context


def keeper(
    context: ExecutionContext, manager: StateManager
) -> Callable[[Decimal], Coroutine[Any, Any, None]]:
    """Makes durable what may be billed beyond what is known (USD), before it may be.

    What is given raises `JournalError` where the record can't be written.
    """

    async def keep(bound: Decimal) -> None:
        context.reserved = bound
        if not await asyncio.to_thread(manager.save_checkpoint, context):
            raise JournalError(
                "the run's record can't be written, so its budget can't be kept: make room in the "
                "journal folder, or set ONDINE_HOME to a folder that can be written"
            )

    return keep
