"""The results view: a run's rows to filter, sort, page through, open, ask again and export.

Only the page that is shown goes to the browser. What takes time by the number of rows is done in
a thread of the view's own, which also draws: no loop waits for it. JupyterLab doesn't save widget
state, so a static view stands behind the live one and shows where that is gone.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..card import shown_elsewhere
from ..ui import (
    Drawing,
    ViewWorker,
    clean,
    display_bundle,
    in_notebook,
    may_click,
    row_count,
    safe,
    view_of,
)
from .export import ExportError, export
from .page import Page, page_of, plain, render, static, summary_of
from .query import Query, Results
from .row import detail_of
from .widgets import MOST_KINDS, ResultsWidgets, show

__all__ = ["ResultsView", "show_results"]

logger = logging.getLogger("ondine_nb")

MOST_AT_ONCE = 5_000  # rows that are drawn while the cell waits
MOST_VIEWS = 8  # live at once; an older one becomes static
PAUSE = 0.5  # seconds between two redraws of a run that goes on, at least
SPARE = 20  # times as long as the last redraw took is waited before the next
ENDED = {"done", "stopped", "failed"}
OTHERS = "\0others"  # the kinds of errors that have no checkbox of their own

_OPEN: deque[ResultsView] = deque()


def show_results(run: Any) -> None:
    """Show a run's rows here: live widgets in a notebook, plain text in a terminal."""
    if not in_notebook():
        results = Results(run)
        print(plain(results, summary_of(results)))
        return
    view = ResultsView(run)
    view.display()
    _OPEN.append(view)
    while len(_OPEN) > MOST_VIEWS:
        _OPEN.popleft().close()


class ResultsView:
    """One view of a run. `run` changes when failed rows are asked again: the retry is a new run."""

    def __init__(self, run: Any) -> None:
        self.run = run
        self.query: Query = Query()
        self.opened: int | None = None
        self.picked: set[int] = set()
        self.results: Results = Results(run)
        self._found: Sequence[int] = ()
        self._page: Page | None = None
        self._summary: Any = None
        self._failures: dict[str, list[int]] = {}
        self._drawing = Drawing()
        self._closed = False
        self._took = 0.0  # seconds of the last redraw of everything
        self._mark = uuid.uuid4().hex[:12]
        self._loop = _running_loop()
        self._watching: Any = None
        self._worker = ViewWorker(self._complain)
        self.parts: ResultsWidgets = ResultsWidgets(self._mark)
        self._listen()

    def display(self) -> None:
        """Show the live view and, behind it, the static one that is saved with the notebook."""
        ended = self.run.state in ENDED
        # This loop must not wait for many rows. Where nobody looks, it is the file that counts.
        waits = self._loop is None or (ended and not may_click())
        later = not waits and len(self.results) > MOST_AT_ONCE
        if not later:
            self._draw_all()
        bundle = view_of(self.parts.box)
        display_bundle({**bundle, "text/plain": ""}, f"ondine-{self._mark}", update=False)
        static = self._promise() if later else self._static()
        display_bundle(static, f"ondine-static-{self._mark}", update=False)
        if later:
            self._worker.ask("end", self._draw_end)
        if ended:
            self._worker.ask("ready", lambda: self.results.get_ready())
        self._watch()

    def close(self) -> None:
        """End the live view: the static one shows in its place."""
        self._closed = True
        self._worker.close()
        self.parts.close()

    def wait(self, seconds: float = 30.0) -> None:
        """Wait until all that was asked of the view so far is drawn."""
        self._worker.wait(seconds)

    # -- drawing, in the worker's thread but for the first time

    def _static(self) -> dict[str, str]:
        known = self.results, self._summary
        return {"text/html": static(*known, self._mark), "text/plain": plain(*known)}

    def _promise(self) -> dict[str, str]:
        """What stands where the static view comes, until it is drawn."""
        text = f"{clean(self.run.name)}: the results of {row_count(len(self.results))}"
        html = f'<p class="ondine-static-{self._mark}">{escape(text)}</p>'
        return {"text/html": html, "text/plain": text}

    def _draw_all(self) -> None:
        """Read the run anew and draw everything."""
        begun = time.perf_counter()
        failed_before = {at for kind in self._failures.values() for at in kind}
        results = self.results = Results(self.run)
        summary = self._summary = summary_of(results)
        self._failures = results.failures()
        failed = {at for kind in self._failures.values() for at in kind}
        self.picked = (self.picked & failed) | (failed - failed_before)
        parts, ended = self.parts, self.run.state in ENDED
        parts.head.value = render("head", summary=summary)
        parts.plots.value = render("plots", summary=summary)
        for part in (parts.plots, parts.find_box, parts.body, parts.export_box):
            show(part, not results.streamed)
        show(parts.refresh, not ended)
        if not results.streamed:
            with self._drawing:
                parts.draw_options(results.heads, results.counts(), self.query)
            self._draw_rows()
            self._draw_retry()
        self._took = time.perf_counter() - begun

    def _draw_rows(self) -> None:
        """Find the rows again and draw the page."""
        query = self.query
        self._found = self.results.find(query)
        self._draw_page()

    def _draw_page(self) -> None:
        page = page_of(self.results, self._found, self.query)
        self.query, self._page = replace(self.query, page=page.page), page
        parts = self.parts
        with self._drawing:
            parts.page.max = page.pages
            parts.page.value = page.page + 1
        parts.before.disabled, parts.after.disabled = page.page == 0, page.page + 1 == page.pages
        parts.of_pages.value = f'<p class="r-of" role="status">of {page.pages:,} · {page.text}</p>'
        self._draw_table()

    def _draw_table(self) -> None:
        page = self._page
        if page is None:
            return
        self.parts.draw_numbers([it.position for it in page.lines], self.opened, self._open_place)
        self.parts.table.value = render("table", page=page, opened=self.opened)
        self._draw_detail()

    def _draw_detail(self) -> None:
        parts, at = self.parts, self.opened
        show(parts.side, at is not None)
        if at is None:
            return
        parts.detail.value = render("detail", detail=detail_of(self.results, at))
        failed = self.results.status(at) == "failed"
        show(parts.pick, failed)
        with self._drawing:
            parts.pick.value = failed and at in self.picked
        place = _place(self._found, at)
        parts.row_before.disabled = place is None or place == 0
        parts.row_after.disabled = place is None or place + 1 == len(self._found)

    def _draw_retry(self) -> None:
        parts, ended = self.parts, self.run.state in ENDED
        failed = sum(map(len, self._failures.values()))
        asking = not ended and self.run.is_retry
        show(parts.retry_box, bool(failed or asking))
        show(parts.stop, asking)
        parts.retry.disabled = not (ended and self.picked)
        with self._drawing:
            parts.draw_kinds(list(self._kinds()), self._on_kind)
        text = f"{len(self.picked):,} of {failed:,} failed rows picked"
        if asking:
            context = self.run.context
            text = f"asked again: {context.done_rows:,} of {row_count(context.total_rows)}"
        parts.retry_note.value = f'<p class="r-of" role="status">{text}</p>'

    def _kinds(self) -> Any:
        """(key, text, whether all its rows are picked) of each kind of error."""
        groups = self._groups()
        for key, rows in groups.items():
            picked = sum(at in self.picked for at in rows)
            name = clean(key, 40) if key != OTHERS else "other kinds"
            part = f"{picked:,} of " if 0 < picked < len(rows) else ""
            yield key, f"{name} ({part}{len(rows):,})", picked == len(rows)

    def _groups(self) -> dict[str, list[int]]:
        kinds = list(self._failures.items())
        groups = dict(kinds[:MOST_KINDS])
        rest = [at for _, rows in kinds[MOST_KINDS:] for at in rows]
        return {**groups, OTHERS: rest} if rest else groups

    # -- what a person does, in whatever thread the front end's messages come

    def _listen(self) -> None:
        parts = self.parts
        for widget in (parts.text, parts.status, parts.sort, parts.order, parts.size, parts.page):
            widget.observe(self._on_query, "value")
        parts.before.on_click(lambda _: self._turn(-1))
        parts.after.on_click(lambda _: self._turn(1))
        parts.row_before.on_click(lambda _: self._step(-1))
        parts.row_after.on_click(lambda _: self._step(1))
        parts.close_row.on_click(lambda _: self._open(None))
        parts.pick.observe(self._on_pick, "value")
        parts.retry.on_click(lambda _: self._on_retry())
        parts.stop.on_click(lambda _: self.run.stop())
        parts.csv.on_click(lambda _: self._export("csv"))
        parts.parquet.on_click(lambda _: self._export("parquet"))
        parts.refresh.on_click(lambda _: self._worker.ask("all", self._draw_all))

    def _on_query(self, _: Any) -> None:
        if not self._drawing.here:
            self._worker.ask("rows", self._take_query)

    def _take_query(self) -> None:
        """What the widgets ask for now. Other rows begin on their first page."""
        parts, old = self.parts, self.query
        asked = Query(parts.status.value, parts.text.value, parts.sort.value, parts.order.value)
        same = replace(old, page=0, size=asked.size) == asked
        page = parts.page.value - 1
        if old.size != parts.size.value:  # stay with the rows that are shown
            page = old.page * old.size // parts.size.value
        self.query = replace(asked, size=parts.size.value, page=page if same else 0)
        if same:
            self._draw_page()
        else:
            self._draw_rows()

    def _turn(self, by: int) -> None:
        def turn() -> None:
            self.query = replace(self.query, page=self.query.page + by)
            self._draw_page()

        self._worker.ask(f"turn {time.monotonic()}", turn)

    def _open_place(self, place: int) -> None:
        page = self._page
        if page is not None and place < len(page.lines):
            at = page.lines[place].position
            self._open(None if at == self.opened else at)

    def _open(self, at: int | None) -> None:
        """Open a row and bring the focus there; or close it, and bring it back."""

        def work() -> None:
            before, self.opened = self.opened, at
            self._draw_table()
            if at is not None and before is None:
                self.parts.close_row.focus()
            elif at is None:
                self._focus_number(before)

        self._worker.ask("open", work)

    def _focus_number(self, position: int | None) -> None:
        lines = self._page.lines if self._page is not None else ()
        for place, line in enumerate(lines):
            if line.position == position:
                self.parts.number(place).focus()

    def _step(self, by: int) -> None:
        """Open the next or previous row in the order that is shown, and turn its page up."""

        def work() -> None:
            place = None if self.opened is None else _place(self._found, self.opened)
            if place is None or not 0 <= place + by < len(self._found):
                return
            self.opened = self._found[place + by]
            self.query = replace(self.query, page=(place + by) // self.query.size)
            self._draw_page()

        self._worker.ask(f"step {time.monotonic()}", work)

    # -- asking again

    def _on_kind(self, key: str, picked: bool) -> None:
        if self._drawing.here:
            return
        rows = self._groups().get(key, [])
        self.picked = self.picked | set(rows) if picked else self.picked - set(rows)
        self._worker.ask("retry", self._draw_picked)

    def _on_pick(self, change: Any) -> None:
        if self._drawing.here or self.opened is None:
            return
        one = {self.opened}
        self.picked = self.picked | one if change["new"] else self.picked - one
        self._worker.ask("retry", self._draw_picked)

    def _draw_picked(self) -> None:
        self._draw_retry()
        with self._drawing:
            self.parts.pick.value = self.opened in self.picked

    def _on_retry(self) -> None:
        if self._loop is None or self._loop.is_closed():
            self._say("no loop is running here: use await run.retry_failed()")
        else:
            self._loop.call_soon_threadsafe(self._start_retry)

    def _start_retry(self) -> None:
        """On the loop that the view was shown on."""
        try:
            with shown_elsewhere():
                self.run = self.run.retry_failed(sorted(self.picked))
        except Exception as error:  # shown where the button is; nothing else is lost
            self._complain(error)
            return
        self.parts.retry.disabled = True
        self._worker.ask("all", self._draw_all)
        self._watch()

    def _watch(self) -> None:
        """Follow a run that goes on, until it is over."""
        run = self.run
        if run.state in ENDED:
            return
        run.when_over(lambda _: self._worker.ask("end", self._draw_end))
        if self._loop is not None and _running_loop() is self._loop:
            self._watching = self._loop.create_task(self._follow(run))

    async def _follow(self, run: Any) -> None:
        while run.state not in ENDED and not self._closed:
            await asyncio.sleep(max(PAUSE, SPARE * self._took))
            self._worker.ask("all", self._draw_all)

    def _draw_end(self) -> None:
        self._draw_all()
        display_bundle(self._static(), f"ondine-static-{self._mark}", update=True)

    # -- files

    def _export(self, kind: str) -> None:
        self._say("writing …")
        self._worker.ask(f"export {kind}", lambda: self._write(kind))

    def _write(self, kind: str) -> None:
        try:
            path = export(self.run.frame, self.run.name, kind, Path.cwd())
        except ExportError as error:
            self._say(str(error))
            return
        link = f'<a href="{escape(quote(path.name))}" target="_blank">{escape(path.name)}</a>'
        rows = row_count(len(self.results))
        self._note(f"{rows} written to {link} in {escape(clean(path.parent))}")

    # -- words

    def _say(self, text: str) -> None:
        self._note(escape(text))

    def _note(self, html: str) -> None:
        self.parts.note.value = f'<p class="r-of" role="status">{html}</p>'

    def _complain(self, error: BaseException) -> None:
        logger.warning("the results view: %s: %s", type(error).__name__, error)
        if not self._closed:
            self._say(f"{type(error).__name__}: {safe(error)}")


def _place(positions: Sequence[int], at: int) -> int | None:
    try:
        return positions.index(at)
    except ValueError:
        return None


def _running_loop() -> Any:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
