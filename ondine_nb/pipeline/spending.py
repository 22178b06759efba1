"""What was paid, by run, model and day: the journal's own sums."""

from __future__ import annotations

import csv
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from ..data import Column, records_frame
from ..errors import CheckpointError, ConfigurationError, nearest
from ..journal import Bill, Journal, shared
from ..models import ZERO
from ..orchestration import run_in_thread
from .records import folded_names, run_id, state_manager

__all__ = ["BY", "Spent", "costs", "read_spending", "write_csv"]

BY = ("run", "model", "day")


@dataclass(slots=True)
class Spent:
    """The answers of one group, and their cost in USD without those of `unpriced` answers.

    `name` is the name of the run's result, "" where it isn't recorded; `day` is local, ISO 8601.
    What a group doesn't tell apart is "".
    """

    run: str = ""
    name: str = ""
    model: str = ""
    day: str = ""
    answers: int = 0
    unpriced: int = 0
    cost: Decimal = ZERO

    @property
    def known_cost(self) -> Decimal | None:
        """The cost, or None where no answer of the group has a known price."""
        return None if self.answers and self.unpriced == self.answers else self.cost


def costs(
    journal: Journal | Path | str | None = None,
    by: str | Sequence[str] = BY,
    *,
    kind: str | None = None,
) -> Any:
    """A frame of what was paid: run, name, model, day, answers, unpriced, cost (USD).

    `journal` is a folder or a `Journal` (default: `.ondine/`), `by` one or more of run, model and
    day: a row for each group, in the order of their first answers. `unpriced` answers, those of an
    unknown price or that couldn't be read, are not in `cost`, which is missing where there are no
    others. It is a float for reading; `%ondine cost FILE.csv` has it exactly. `kind` is "pandas" or
    "polars". Raises `JournalError` for a journal that can't be read, `ConfigurationError` for
    groups that there aren't.
    """
    return _frame(read_spending(journal, by), kind or _kind())


def read_spending(
    journal: Journal | Path | str | None = None, by: str | Sequence[str] = BY
) -> list[Spent]:
    """The rows of `costs`, with exact costs. Blocks a running loop meanwhile. Raises as it does."""
    wanted = (by,) if isinstance(by, str) else tuple(by)
    for name in wanted:
        if name not in BY:
            near = nearest(str(name), BY)
            hint = f" Did you mean '{near}'?" if near else ""
            raise ConfigurationError(f"by is '{name}': costs are told by {', '.join(BY)}.{hint}")
    book = journal if isinstance(journal, Journal) else shared(journal)
    groups: dict[tuple[str, ...], Spent] = run_in_thread(lambda: _grouped(book, wanted))
    names = _names(book) if "run" in wanted else {}
    for spent in groups.values():
        spent.name = names.get(spent.run, "")
    return list(groups.values())


async def _grouped(journal: Journal, by: Sequence[str]) -> dict[tuple[str, ...], Spent]:
    groups: dict[tuple[str, ...], Spent] = {}
    first: dict[tuple[str, ...], float] = {}
    async for bill in journal.bills():
        place: dict[str, Any] = {name: _of(bill, name) for name in by}
        group = tuple(place.values())
        spent = groups.setdefault(group, Spent(**place))
        first[group] = min(bill.at, first.get(group, bill.at))
        spent.answers += 1
        if bill.cost is None:
            spent.unpriced += 1
        else:
            spent.cost += Decimal(bill.cost)
    return dict(sorted(groups.items(), key=lambda item: first[item[0]]))


def _of(bill: Bill, name: str) -> str:
    if name == "day":
        return datetime.fromtimestamp(bill.at).date().isoformat()
    return bill.run if name == "run" else bill.model


def _names(journal: Journal) -> dict[str, str]:
    """The names of the recorded runs' results, by the runs' ids."""
    return {**folded_names(journal.folder), **dict(_recorded(journal))}


def _recorded(journal: Journal) -> Iterator[tuple[str, str]]:
    manager = state_manager(journal.folder)
    for info in manager.list_checkpoints():
        try:
            context = manager.load_checkpoint(info.session_id)
        except CheckpointError:  # a record that can't be read names nothing
            continue
        if context is not None:
            yield run_id(info.session_id), str(context.settings.get("out", ""))


def _kind() -> str:
    """The library of frames that is in use, or else the one that is there."""
    for kind in ("pandas", "polars"):
        if kind in sys.modules:
            return kind
    return "pandas" if importlib.util.find_spec("pandas") else "polars"


def _frame(groups: Sequence[Spent], kind: str) -> Any:
    texts = [
        Column(name, "str", [getattr(spent, name) or None for spent in groups])
        for name in ("run", "name", "model", "day")
    ]
    counts = [
        Column(name, "int", [getattr(spent, name) for spent in groups])
        for name in ("answers", "unpriced")
    ]
    known = [spent.known_cost for spent in groups]
    money = Column("cost", "float", [None if cost is None else float(cost) for cost in known])
    return records_frame(kind, [*texts, *counts, money])


def write_csv(groups: Iterable[Spent], path: str | Path) -> None:
    """The groups as CSV, costs exactly. Raises `ConfigurationError` where it can't be written."""
    columns = ("run", "name", "model", "day", "answers", "unpriced")
    try:
        with Path(path).expanduser().open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*columns, "cost_usd"])
            for spent in groups:
                cost = "" if spent.known_cost is None else f"{spent.known_cost:f}"
                writer.writerow([*(getattr(spent, name) for name in columns), cost])
    except OSError as error:
        raise ConfigurationError(
            f"{path} can't be written ({error.strerror or error}): name another file"
        ) from error
