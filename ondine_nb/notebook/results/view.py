"""The live results view: a run's rows, or a frame's, to look through, filter, sort and take along.

Only what is shown goes to the browser. What takes time by the number of rows is done outside the
notebook's loop. While a run goes on, the view follows it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ...data import frames_in, kind_of, wrap
from ...errors import RunError
from ...pipeline import JudgedRun
from ..card import shown_elsewhere
from ..ui import (
    LiveView,
    bind,
    clean,
    in_marimo,
    in_notebook,
    may_click,
    names_here,
    row_count,
    running_loop,
)
from .corrections import REVIEWER, Corrections
from .export import export
from .look import columns_of, detail_told, facets_of, failed_of, lines_of
from .page import Summary, plain, static, summary_of
from .query import Condition, Query, Selection, plotted
from .review_form import FormError
from .row import detail_of
from .table import Results

__all__ = ["ResultsView", "show", "show_results"]

MOST_AT_ONCE = 5_000  # rows that are read while the cell waits
FIRST_ROWS, FIRST_FAILED = 40, 20
MOST_ROWS = 400  # that are given at once
MOST_COLUMNS = 20  # of a plain frame that are shown at first
PAUSE = 0.5  # seconds between two looks at a run that goes on, at least
SPARE = 20  # times as long as the last look took is waited before the next
ENDED = {"done", "stopped", "failed"}


def show_results(run: Any, reviewer: str = REVIEWER) -> ResultsView:
    """Show a run's rows here: live in a notebook, as plain text in a terminal."""
    view = ResultsView(run, reviewer=reviewer)
    view.show()
    return view


def show(data: Any) -> ResultsView:
    """Show a pandas or polars DataFrame (or a run) to look through: filter, sort, search, select.

    Each plot is a filter. `view.selected` is the frame of the rows that are shown. Raises
    ConfigurationError for anything else.
    """
    if kind_of(data) is None and hasattr(data, "plan"):
        return show_results(data)
    here = names_here()
    names = [name for name in frames_in(here) if here[name] is data]
    view = ResultsView(frame=data, name=names[0] if names else "frame")
    view.show()
    return view


class ResultsView(LiveView):
    """One view of a run or of a frame. `run` changes when failed rows are asked again."""

    module = "results/results.js"
    sheet = "results/results.css"

    def __init__(
        self,
        run: Any = None,
        *,
        frame: Any = None,
        name: str = "",
        reviewer: str = REVIEWER,
    ) -> None:
        super().__init__()
        self.run: Any = run
        self.reviewer: str = reviewer
        self.opens_others: bool = run is not None
        self._data, self._name = frame, name
        self._loop = running_loop()
        self._watching: Any = None
        self._took = 0.0
        self._version = 0
        self._bound = ""
        self._query: Query = Query()
        self._names: list[str] | None = None  # the columns shown
        self._plots: list[str] = []
        self._wide: list[str] = []
        self._summary: Summary | None = None
        self.results: Results = self._read()
        self._selection = self._selected(self._query)

    # -- what it is

    @property
    def selected(self) -> Any:
        """The frame of the rows that are shown: like the input, with the answers, in their order.

        pandas or polars, as the input. Failed rows are in it where no condition is on an answer.
        Corrections are in it, as they are shown.
        """
        with self.lock:
            positions = self._selection.ordered.tolist()
            whole = self.run.frame if self.run is not None else self.results.frame.native
            said = self.results.corrections
        frame = wrap(whole, self.results.name or "frame")
        if len(frame) != len(self.results):
            raise RunError(
                f"the run's frame has {row_count(len(frame))}, not {len(self.results):,} as shown: "
                "its stages or its chunks change them; filter run.frame itself"
            )
        if said is not None and said.found:
            frame = wrap(JudgedRun(self.run).corrected(sources=False), self.results.name)
        return frame.take(positions).native

    def show(self) -> None:
        """Show it here; a long run's rows are read behind the cell."""
        ended = self.run is None or self.run.state in ENDED
        waits = self._loop is None or (ended and not may_click()) or not in_notebook()
        many = len(self.results) > MOST_AT_ONCE or self.results.pictures is not None
        later = not waits and many
        if not later:
            self._look()
        super().show()
        if later:
            self.later("end", self._look_at_end)
        self._watch()

    # -- what the browser knows

    def state(self) -> dict[str, Any]:
        """All that the first picture needs: columns, plots and the first rows."""
        with self.lock:
            summary, results = self._summary, self.results
            if summary is None:
                return {"loading": True, "head": {"name": clean(results.name), "facts": []}}
            if results.streamed:
                return {"head": summary.told(), "streamed": True}
            run = self.run
            return {
                "head": summary.told(),
                "columns": columns_of(results, self._plots),
                "rows": len(results),
                "look": self._told(),
                "query": self._query_told(),
                "is_run": run is not None,
                "can_review": hasattr(run, "review") and not in_marimo(),
                "can_correct": results.corrections is not None,
                "retrying": self._retrying(),
                "ended": run is None or run.state in ENDED,
            }

    def static(self) -> str:
        if self._summary is None:
            return f'<p class="{self.static_class}">{escape(self.plain())}</p>'
        return static(self.results, self._summary, self.static_class)

    def plain(self) -> str:
        if self._summary is None:  # it is being read, and the cell doesn't wait for it
            return f"{clean(self.results.name)}: {row_count(len(self.results))}"
        return plain(self.results, self._summary)

    @property
    def actions(self) -> Mapping[str, Callable[..., Any]]:
        known = {} if self.results.pictures is None else self.results.pictures.actions
        return {
            **known,
            "look": self._on_look,
            "rows": self._on_rows,
            "failed": self._on_failed,
            "row": self._on_row,
            "edit": self._on_edit,
            "unsay": self._on_unsay,
            "find": self._on_find,
            "frame": self._on_frame,
            "review": self._on_review,
            "retry": self._on_retry,
            "stop": lambda: self.run.stop(),
            "export": self._on_export,
            "refresh": self._look_again,
        }

    # -- reading

    def _read(self) -> Results:
        if self.run is not None:
            return Results(self.run, corrections=Corrections.of(self.run, self.reviewer))
        return Results(frame=self._data, name=self._name)

    def _look(self) -> None:
        """Read everything that the view shows first."""
        begun = time.perf_counter()
        with self.lock:
            if not self.results.streamed:
                if self._names is None:
                    self._names = self._first_names()
                    self._plots = [head.name for head in plotted(self.results)]
                self._selection = self._selected(self._query)
            self._summary = summary_of(self.results)
            self._version += 1
        self._took = time.perf_counter() - begun

    def _look_again(self) -> None:
        """Read the run anew: it went on."""
        with self.lock:
            self.results = self._read()
            self._look()
        self.set_state()

    def _look_at_end(self) -> None:
        self._look_again()
        self.show_static()

    def _first_names(self) -> list[str]:
        if self.run is not None:
            return [head.name for head in self.results.named("text", "answer")]
        return [head.name for head in self.results.named("text", "input")][:MOST_COLUMNS]

    def _selected(self, query: Query) -> Selection:
        names = dict.fromkeys([*self._searched(), *(self._names or ())])
        return Selection(self.results, query, list(names))

    def _searched(self) -> list[str]:
        return [head.name for head in self.results.named("label", "text", "answer")]

    # -- what the browser asks

    def _on_look(
        self,
        conditions: Sequence[Mapping[str, Any]] = (),
        sort: str = "",
        descending: bool = False,
        names: Sequence[str] = (),
        plots: Sequence[str] = (),
        wide: Sequence[str] = (),
        needle: str = "",
    ) -> dict[str, Any]:
        query = Query(tuple(map(Condition.of, conditions)), sort, descending)
        if self.results.corrections is not None and self.results.corrections.refresh():
            self.results.renew()
        heads = [self.results.head(name).name for name in (*names, *plots, *wide)]
        self._names, self._plots = heads[: len(names)], list(plots)
        self._wide = list(wide)
        earlier, self._selection = self._selection, self._selected(query)
        self._selection.after(earlier)
        self._query = query
        self._version += 1
        return self._told(needle)

    def _told(self, needle: str = "") -> dict[str, Any]:
        selection, names = self._selection, self._names or []
        first = selection.positions[:FIRST_ROWS].tolist()
        return {
            "version": self._version,
            "count": len(selection),
            "places": len(selection.positions),
            "chips": selection.chips(),
            "facets": facets_of(selection, self._plots, self._wide),
            "failed": failed_of(selection, "", FIRST_FAILED, names),
            "lines": lines_of(self.results, first, names, needle),
            "names": names,
        }

    def _query_told(self) -> dict[str, Any]:
        return {
            "conditions": [it.told() for it in self._query.conditions],
            "sort": self._query.sort,
            "descending": self._query.descending,
            "names": self._names,
            "plots": self._plots,
            "wide": self._wide,
        }

    def _on_rows(self, version: int, start: int, count: int, needle: str = "") -> dict[str, Any]:
        if version != self._version:
            return {"version": self._version, "lines": []}
        stop = start + min(count, MOST_ROWS)
        positions = self._selection.positions[start:stop].tolist()
        told = lines_of(self.results, positions, self._names or [], needle)
        return {"version": version, "start": start, "lines": told}

    def _on_failed(self, kind: str = "", most: int = FIRST_FAILED) -> dict[str, Any]:
        return failed_of(self._selection, kind, min(most, MOST_ROWS), self._names or [])

    def _on_row(self, at: int) -> dict[str, Any]:
        places = (self._selection.positions == at).nonzero()[0].tolist()
        detail = detail_told(detail_of(self.results, at))
        said = self.results.corrections
        forms = [] if said is None else said.told(at)
        return {**detail, "place": places[0] if places else None, "forms": forms}

    # -- correcting

    def _on_edit(self, at: int, field: str, held: Any) -> dict[str, Any]:
        """Keep what the form of a field holds as the row's label, then show what is so now.

        Gives `wrong`, a line, where that is no value of the field; then nothing is kept.
        """
        try:
            changed = self._said.say(at, field, held)
        except FormError as error:
            return {"wrong": str(error)}
        return self._said_of(at, changed)

    def _on_unsay(self, at: int, field: str) -> dict[str, Any]:
        """Take this reviewer's label of the field back."""
        return self._said_of(at, self._said.take_back(at, field))

    @property
    def _said(self) -> Corrections:
        if self.results.corrections is None:
            raise RunError(f"the rows of `{self.results.name}` can't be corrected here")
        return self.results.corrections

    def _said_of(self, at: int, changed: Sequence[int]) -> dict[str, Any]:
        """What changed by a label. The rows in view stay until something else is asked for."""
        self.results.renew()
        earlier, self._selection = self._selection, self._selected(self._query)
        self._selection.kept_as(earlier)
        self.later("said", self._show_said)
        lines = lines_of(self.results, list(changed)[:MOST_ROWS], self._names or [])
        facets = facets_of(self._selection, self._plots, self._wide)
        return {"row": self._on_row(at), "lines": lines, "facets": facets}

    def _show_said(self) -> None:
        """The first picture of other pages, and the static form."""
        with self.lock:
            self._summary = summary_of(self.results)
        self.set_state()
        self.show_static()

    def _on_find(self, needle: str, place: int, step: int) -> dict[str, Any]:
        """The next hit from `place` on (`step` 1 or -1, 0: `place` counts too), round the end."""
        hits = self._selection.hits(needle) if needle.strip() else []
        if not hits:
            return {"hits": 0, "number": 0, "place": None}
        if step < 0:
            before = [number for number, hit in enumerate(hits) if hit < place]
            number = before[-1] if before else len(hits) - 1
        else:
            least = place + (step > 0)
            number = next((it for it, hit in enumerate(hits) if hit >= least), 0)
        return {"hits": len(hits), "number": number + 1, "place": hits[number]}

    # -- taking along

    def _on_frame(self) -> dict[str, Any]:
        """Bind the frame of what is shown to a name of the notebook."""
        frame = self.selected
        stem = "".join(it if it.isalnum() else "_" for it in self.results.name) or "frame"
        self._bound = bind(f"{stem}_selected", frame, self._bound)
        return {"name": self._bound, "rows": len(frame)}

    def _on_export(self, kind: str) -> dict[str, Any]:
        frame = self.selected
        path = export(frame, self.results.name, kind, Path.cwd())
        return {"file": path.name, "folder": str(path.parent), "rows": len(frame)}

    def _on_review(self) -> None:
        positions = self._selection.ordered.tolist()
        with self.shown_below():
            self.run.review(rows=positions)

    # -- asking again

    def _on_retry(self, kind: str = "") -> dict[str, Any]:
        results = self.results
        rows = [at for at in self._selection.failed if not kind or results.reason(at)[0] == kind]
        if self._loop is None or self._loop.is_closed():
            raise RunError("no loop is running here: use await run.retry_failed()")
        self._loop.call_soon_threadsafe(self._start_retry, rows)
        return {"rows": len(rows)}

    def _start_retry(self, rows: list[int]) -> None:
        """On the loop that the view was shown on."""
        try:
            with shown_elsewhere():
                self.run = self.run.retry_failed(rows)
        except Exception as error:  # shown where the button is; nothing else is lost
            self.complain(error)
            return
        self.later("all", self._look_again)
        self._watch()

    def _retrying(self) -> dict[str, Any] | None:
        run = self.run
        if run is None or run.state in ENDED or not run.is_retry:
            return None
        return {"done": run.context.done_rows, "rows": run.context.total_rows}

    def _watch(self) -> None:
        """Follow a run that goes on, until it is over."""
        run = self.run
        if run is None or run.state in ENDED:
            return
        run.when_over(lambda _: self.later("end", self._look_at_end))
        if self._loop is not None and running_loop() is self._loop:
            self._watching = self._loop.create_task(self._follow(run))

    async def _follow(self, run: Any) -> None:
        while run.state not in ENDED and not self.closed:
            await asyncio.sleep(max(PAUSE, SPARE * self._took))
            self.later("all", self._look_again)
