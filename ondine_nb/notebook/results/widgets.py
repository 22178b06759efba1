"""ipywidgets of the results view: what there is and how it is laid out, without what it does.

ipywidgets is imported when the first view is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..ui import Kit, clean, css
from .query import STATUSES, Head, Query, status_word

__all__ = ["SIZES", "ResultsWidgets"]

SIZES = (10, 20, 50, 100)  # rows of a page
MOST_KINDS = 8  # kinds of errors that have a checkbox of their own


class ResultsWidgets:
    """Every widget of one view. `box` is the whole; `mark` names it in its style sheet."""

    def __init__(self, mark: str) -> None:
        self._kit = kit = Kit()
        sheet = f"{css('results/results.css')}\n{_HIDING.replace('MARK', mark)}"
        self.style = kit.HTML(f"<style>{sheet}</style>", own=True)
        show(self.style, False)
        self.head, self.plots, self.table = kit.HTML(), kit.HTML(own=True), kit.HTML()
        self.detail, self.note, self.of_pages = (kit.HTML() for _ in range(3))
        self.retry_note = kit.HTML()
        self._find_parts()
        self._buttons()
        self._boxes()
        self._numbers: list[Any] = []
        self._kinds: list[Any] = []

    def _find_parts(self) -> None:
        kit = self._kit
        wide = {"description_width": "auto"}
        self.text = kit.Text(
            description="Find", placeholder="text in any column", continuous_update=True, style=wide
        )
        self.status = kit.Dropdown(description="Status", options=[("all rows", "")], style=wide)
        self.sort = kit.Dropdown(description="Sort by", options=[("row", -1)], style=wide)
        orders = [("ascending", False), ("descending", True)]
        self.order = kit.Dropdown(description="Order", options=orders, style=wide)
        self.page = kit.BoundedIntText(value=1, min=1, max=1, description="Page", style=wide)
        self.size = kit.Dropdown(description="Rows", options=SIZES, value=20, style=wide)
        self.pick = kit.Checkbox(description="Retry this row", indent=False, own=True)

    def _buttons(self) -> None:
        def button(name: str, tooltip: str, own: bool = False) -> Any:
            return self._kit.Button(description=name, tooltip=tooltip, own=own)

        self.retry = button("Retry failed", "Ask the picked failed rows again; each is paid anew")
        self.stop = button(
            "Stop", "Send nothing more; what is in flight is finished and kept", True
        )
        self.before = button("Previous page", "The page before this one")
        self.after = button("Next page", "The page after this one")
        self.row_before = button("Previous row", "Open the row before this one")
        self.row_after = button("Next row", "Open the row after this one")
        self.close_row = button("Close row", "Close this row and go back to the table")
        self.csv = button("Export CSV", "Write all rows to a new CSV file")
        self.parquet = button("Export Parquet", "Write all rows to a new Parquet file")
        self.refresh = button("Refresh", "Show the rows as they are now", own=True)

    def _boxes(self) -> None:
        self.kinds = self._box("r-kinds", [])
        self.retry_box = self._box(
            "r-bar r-retry", [self.kinds, self.retry, self.stop, self.retry_note], own=True
        )
        self.find_box = self._box(
            "r-bar r-find", [self.text, self.status, self.sort, self.order], own=True
        )
        self._head_of_numbers = self._kit.HTML('<p aria-hidden="true">row</p>')
        self.numbers = self._box("r-numbers", [self._head_of_numbers], upright=True)
        grid = self._box("r-grid", [self.numbers, self.table])
        pager = [self.before, self.after, self.page, self.of_pages, self.size]
        left = self._box("r-left", [grid, self._box("r-bar r-pager", pager)], upright=True)
        tools = [self.row_before, self.row_after, self.close_row, self.pick]
        self.side = self._box(
            "r-side", [self._box("r-bar r-tools", tools), self.detail], upright=True, own=True
        )
        self.body = self._box("r-body", [left, self.side], own=True)
        exports = [self.csv, self.parquet, self.refresh, self.note]
        self.export_box = self._box("r-bar r-export", exports, own=True)
        whole = [self.style, self.head, self.plots, self.retry_box, self.find_box, self.body]
        self.box = self._box("ondine-results ondine-r", [*whole, self.export_box], upright=True)
        for part in (self.retry_box, self.side, self.stop, self.refresh):
            show(part, False)

    def _box(
        self, names: str, children: Sequence[Any], upright: bool = False, own: bool = False
    ) -> Any:
        box = (self._kit.VBox if upright else self._kit.HBox)(children, own=own)
        for name in names.split():
            box.add_class(name)
        return box

    # -- what changes

    def draw_options(self, heads: Sequence[Head], counts: dict[str, int], query: Query) -> None:
        """The choices of the menus, with how many rows each has."""
        total = sum(counts.values())
        known = [(f"{status_word(it)} ({counts[it]:,})", it) for it in STATUSES if counts[it]]
        if query.status and not counts[query.status]:
            known.append((f"{status_word(query.status)} (0)", query.status))
        _choices(self.status, [(f"all ({total:,})", ""), *known], query.status)
        names = [(clean(head.name, 40), at) for at, head in enumerate(heads)]
        _choices(self.sort, [("row", -1), *names], query.sort)

    def draw_numbers(
        self, positions: Sequence[int], opened: int | None, open_row: Callable[[int], None]
    ) -> None:
        """A button for each row of the page; `open_row` gets the row's place on the page."""
        while len(self._numbers) < len(positions):
            button, place = self._kit.Button(), len(self._numbers)
            button.on_click(lambda _, place=place: open_row(place))
            self._numbers.append(button)
        for button, position in zip(self._numbers, positions, strict=False):
            here = position == opened
            name = f"{'▸ ' if here else ''}{position:,}"
            if button.description != name:
                with button.hold_sync():
                    button.description = name
                    button.tooltip = f"Row {position:,}{' is open' if here else ': open it'}"
            (button.add_class if here else button.remove_class)("is-open")
        shown = (self._head_of_numbers, *self._numbers[: len(positions)])
        if self.numbers.children != shown:
            self.numbers.children = shown

    def draw_kinds(
        self, kinds: Sequence[tuple[str, str, bool]], toggled: Callable[[str, bool], None]
    ) -> None:
        """A checkbox for each kind of error: (key, text, whether it is picked)."""
        while len(self._kinds) < len(kinds):
            box = self._kit.Checkbox(indent=False)
            box.observe(lambda change: toggled(change["owner"].ondine_kind, change["new"]), "value")
            self._kinds.append(box)
        for box, (key, text, picked) in zip(self._kinds, kinds, strict=False):
            box.ondine_kind = key
            box.description, box.value = text, picked
        self.kinds.children = tuple(self._kinds[: len(kinds)])

    def number(self, place: int) -> Any:
        """The button of a row, by its place on the page."""
        return self._numbers[place]

    def close(self) -> None:
        """Close all widgets with their layouts and styles: nothing stays behind in the kernel."""
        for widget in [*_all(self.box), *self._numbers, *self._kinds]:
            for part in (widget, widget.layout, getattr(widget, "style", None)):
                if part is not None:
                    part.close()


# Where the live view is, the static one behind it is not shown.
_HIDING = (
    """.ondine-static-MARK, .jp-OutputArea-child:has(.ondine-static-MARK) { display: none; }"""
)


def show(widget: Any, shown: bool) -> None:
    """Show a widget with a layout of its own, or take it out of sight and of the order of Tab."""
    widget.layout.display = None if shown else "none"


def _choices(menu: Any, options: Sequence[tuple[str, Any]], value: Any) -> None:
    if menu.options != tuple(options):
        menu.options = options  # puts the first one in
    menu.value = value


def _all(widget: Any) -> Iterator[Any]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from _all(child)
