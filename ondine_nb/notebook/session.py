"""Session of a notebook: its runs, which `%ondine` lists and stops, and what a cell asks for."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigurationError
from ..pipeline import OPTIONS, Surface
from ..sending import SessionBudget

__all__ = ["CellRequest", "Session", "shown"]


_ACTIVE = ("pending", "running", "paused", "stopping")


@dataclass
class _Record:
    """A run of this session as `%ondine runs` lists it, without keeping its frame alive."""

    reference: weakref.ref[Any]
    last: str = ""

    def line(self) -> str:
        run = self.reference()
        return self.last if run is None else _summary(run)


class Session:
    """The runs that cells of this notebook have started, and the `budget` that they share."""

    def __init__(self) -> None:
        self.budget: SessionBudget = SessionBudget()
        self._records: list[_Record] = []

    def add(self, run: Any) -> None:
        """List a run; its last line stays when the run is gone."""
        record = _Record(weakref.ref(run))
        self._records.append(record)
        run.when_over(lambda over: setattr(record, "last", _summary(over)))

    def listing(self) -> str:
        """A line a run: name, state, rows, cost."""
        lines = [record.line() for record in self._records]
        return "\n".join(lines) or "No run in this session yet."

    def active(self) -> list[Any]:
        """The runs that are under way."""
        runs = [run for record in self._records if (run := record.reference()) is not None]
        return [run for run in runs if run.state in _ACTIVE]

    def stop(self, name: str) -> str:
        """Stop the active run of this name or id, or all; gives what to tell the user.

        Raises `ConfigurationError` where there is none.
        """
        active = self.active()
        wanted = [run for run in active if name in ("", run.name, f"{run.name}_run", run.id)]
        if not active:
            raise ConfigurationError("no run is under way")
        if not wanted:
            names = ", ".join(run.name for run in active)
            raise ConfigurationError(f"no run '{name}' is under way, but {names}")
        return "\n".join(_stopped(run) for run in wanted)


def _stopped(run: Any) -> str:
    again = run.state == "stopping"
    run.stop()
    what = f"{run.context.metrics.in_flight:,} in flight"
    end = "cancelled (perhaps billed)" if again else "are finished and kept"
    return f"{run.name}: nothing more is sent, {what} {end}"


def _summary(run: Any) -> str:
    from .ui import money

    counts = run.counts
    cost = "price unknown" if run.cost is None else money(run.cost)
    again = f", {len(run.earlier.asked):,} failed asked again" if run.is_retry else ""
    return (
        f"{run.name:<16} {run.state:<9} {counts.done:,} of {counts.total:,} rows, "
        f"{counts.failed:,} failed, {counts.journal:,} from the journal, {cost}  "
        f"({run.source}, {run.model}{again})"
    )


@dataclass
class CellRequest:
    """One cell: its options, its frame and its prompt."""

    options: dict[str, Any]
    frame: Any
    prompt: str
    session: SessionBudget
    view: Any = None

    @property
    def out(self) -> str:
        """The name that the result is bound to."""
        return str(self.options.get("out") or "_ondine")

    def kept(self, run: Any) -> str:
        """What an interrupted run leaves, in words."""
        counts = run.counts
        return (
            f"{self.out} has {counts.done:,} of {counts.total:,} rows. Run the cell "
            "again for the rest: what is answered or in flight is not paid again"
        )

    def pipeline(self) -> Any:
        """Raises `ConfigurationError` for what can't be run."""
        from ..pipeline import Pipeline

        wanted = {
            option: value
            for option, value in self.options.items()
            if value is not None and value is not False
            # The workbench gives its journal, too, which is no option of the cell.
            if option not in OPTIONS or OPTIONS[option].on(Surface.KEYWORD)
        }
        return Pipeline(
            self.frame, self.prompt, name=shown(self.options["input"]), **wanted
        ).within(self.session)

    def run(self, pipeline: Any) -> Any:
        """A run of it, named as its result will be."""
        from ..pipeline import Run

        return Run(pipeline, name=self.out)


def shown(source: Any) -> str:
    """What messages call the frame."""
    return source if isinstance(source, str) and len(source) <= 40 else "the frame"
