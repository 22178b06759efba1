"""ipywidgets of the workbench: editors, controls, buttons and the regions that are redrawn.

They hold no state of their own and decide nothing: `panel.py` reads them and draws them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from ...errors import ConfigurationError
from ...pipeline import OPTIONS
from ..ui import Kit, clean, css, money
from .draft import LARGEST_SAMPLE, Workbench

__all__ = ["ACTIONS", "NO_COLUMN", "Widgets", "control"]

ACTIONS = ("Preview", "Compare", "Run all", "As code")
OFF = ""  # the value of a menu's first entry: None can't be chosen, it is what is chosen by nobody
NO_COLUMN = False  # the same where any text may be a column's name
_CHIPS = 24  # columns that get a button
_AMOUNTS = ("0.1", "0.25", "0.5", "1", "2", "5", "10", "20", "50", "100")
_TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def control(name: str, given: Any) -> Any:
    """The widget for a control, by the abbreviations that `ipywidgets.interact` uses.

    Raises `ConfigurationError` for what is no abbreviation.
    """
    import ipywidgets

    try:
        made = ipywidgets.interactive.widget_from_abbrev(given)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"control '{name}': {error}") from None
    if made is None or not hasattr(made, "value"):
        raise ConfigurationError(
            f"control '{name}' is {clean(given, 60)!r}: give a (min, max) or (min, max, step) "
            "for a slider, a list for a menu, True or False for a box, a text, or a widget"
        )
    if not isinstance(given, ipywidgets.Widget) or not made.description:
        made.description = name
    made.add_class("o-control")
    return made


class Widgets:
    """All widgets of one workbench; `root` is what is displayed."""

    def __init__(self, bench: Workbench, controls: dict[str, Any]) -> None:
        self._kit = Kit()
        self.controls = controls  # by name; those of free names come and go
        self.prompt = self._area("Prompt", bench.prompt, "Ask about a row: {column} is its value")
        self.system = self._area("System", bench.options.get("system") or "", "same for all rows")
        self._make_schema(bench)
        self._make_settings(bench)
        self._make_regions()
        self.chips = [self._chip(name) for name in bench.columns[:_CHIPS]]
        self.buttons = {name: self._button(name) for name in (*ACTIONS, "Stop")}
        self.buttons["Preview"].add_class("o-primary")
        self._make_root()

    # -- parts

    def _area(self, label: str, text: str, hint: str) -> Any:
        return self._kit.Textarea(
            value=clean_text(text),
            description=label,
            placeholder=hint,
            continuous_update=True,
            rows=1,
        )

    def _make_schema(self, bench: Workbench) -> None:
        spec = bench.options.get("schema")
        own = spec is None or isinstance(spec, str)
        self.schema = self._area("Schema", spec or "" if own else "", "name: type, … (plain text)")
        if not own:
            name = spec.__name__ if isinstance(spec, type) else "a JSON Schema"
            self.schema.placeholder = f"{name}, as given"
            self.schema.disabled = True

    def _make_settings(self, bench: Workbench) -> None:
        options = bench.options
        self.model = self._option("model", options)
        self.effort = self._option("effort", options)
        most = max(1, min(LARGEST_SAMPLE, len(bench.frame)))
        self.sample = self._kit.IntSlider(
            value=bench.sample, min=1, max=max(2, most), description="sample rows"
        )
        self.sample.disabled = most == 1
        budget = _decimal(options.get("budget"))
        amounts = _with([Decimal(it) for it in _AMOUNTS], budget)
        steps = [("none", OFF), *((money(amount), amount) for amount in amounts)]
        self.budget = self._kit.SelectionSlider(
            options=steps, value=OFF if budget is None else budget, description="budget"
        )
        tokens, width = _whole(options.get("max_tokens")), _whole(options.get("concurrency"))
        self.max_tokens = self._counts("max tokens", "default", _TOKENS, tokens)
        self.concurrency = self._counts("concurrency", "auto", _WIDTHS, width)
        columns = [(clean(name, 60) or "(no name)", name) for name in bench.columns]
        self.labels = self._menu(
            "labels",
            [("none", NO_COLUMN), *columns],
            NO_COLUMN if bench.labels is None else bench.labels,
        )
        self.out = self._kit.Text(value=bench.out, description="result name")

    def _menu(self, label: str, options: Sequence[tuple[str, Any]], value: Any) -> Any:
        return self._kit.Dropdown(options=list(options), value=value, description=label)

    def _option(self, name: str, options: Mapping[str, Any]) -> Any:
        """A menu of an option's values; its first entry is the default."""
        option = OPTIONS[name]
        value = options.get(name) or option.default or OFF
        off = [("default", OFF)] if option.default is None else []
        values = _with(option.values, value or None)
        return self._menu(name, [*off, *((it, it) for it in values)], value)

    def _counts(self, label: str, off: str, values: Sequence[int], value: int | None) -> Any:
        options = [(off, OFF), *((f"{count:,}", count) for count in _with(values, value))]
        return self._menu(label, options, OFF if value is None else value)

    def _make_regions(self) -> None:
        sheet = f"<style>{css('workbench/panel.css')}</style>"
        self.style = self._kit.HTML(sheet, own=True)
        self.style.layout.display = "none"
        html = self._kit.HTML
        self.mirror, self.says, self.schema_says, self.forecast = html(), html(), html(), html()
        self.figures, self.results, self.message = html(), html(), html()
        self.make_control = self._kit.Button(own=True)
        self.make_control.layout.display = "none"
        self.make_control.add_class("o-chip")

    def _chip(self, column: str) -> Any:
        made = self._kit.Button(
            description=f"{{{clean(column, 30)}}}", tooltip=f"put {{{clean(column)}}} at the end"
        )
        made.add_class("o-chip")
        return made

    def _button(self, name: str) -> Any:
        made = self._kit.Button(description=name)
        made.add_class("o-button")
        return made

    def _box(self, name: str, *children: Any) -> Any:
        made = self._kit.Box(list(children))
        made.add_class(name)
        return made

    def _make_root(self) -> None:
        chips = self._box("o-chips", *self.chips, self.make_control)
        editors = self._box(
            "o-editors",
            self._box("o-editor", self.mirror, self.prompt),
            chips,
            self.says,
            self.schema,
            self.schema_says,
            self.system,
        )
        self.side = self._box("o-side")
        asking, running = (self.model, self.effort), (self.max_tokens, self.concurrency)
        more = self._box("o-more", *asking, *running, self.labels, self.out)
        self.draw_controls()
        self._stop_place = self._box("o-actions", *(self.buttons[name] for name in ACTIONS))
        self.code = self._box("o-code")
        self.root = self._kit.VBox(
            [
                self.style,
                self._box("o-main", editors, self.side, more),
                self._box("o-bar", self._stop_place, self.figures),
                self.message,
                self.code,
                self.results,
            ]
        )
        self.root.add_class("ondine-panel")

    # -- drawing

    def draw_controls(self) -> None:
        """Show the controls that there are now, above sample, budget and forecast."""
        shown = [*self.controls.values(), self.sample, self.budget, self.forecast]
        if list(self.side.children) != shown:
            self.side.children = shown

    def draw_stop(self, busy: bool) -> None:
        """A Stop button while a preview is under way."""
        names = (*ACTIONS, "Stop") if busy else ACTIONS
        self._stop_place.children = [self.buttons[name] for name in names]

    def text_control(self, name: str, value: str) -> Any:
        """A field for the control `name`, filled with `value`."""
        made = self._kit.Text(value=value, description=name, continuous_update=True)
        made.add_class("o-control")
        self.controls[name] = made
        return made

    def draw_code(self, parts: Sequence[tuple[str, str]], note: str = "") -> None:
        """Text areas to copy from, each (label, text), and a note (HTML); no part closes them."""
        areas = [
            self._kit.Textarea(value=clean_text(text), description=label, rows=_rows(text))
            for label, text in parts
        ]
        for area in self.code.children:
            area.close()
        self.code.children = [*areas, self._kit.HTML(note)] if note else areas

    def close(self) -> None:
        """Close every widget with its layout and style."""
        _close(self.root)


def _close(widget: Any) -> None:
    for child in getattr(widget, "children", ()):
        _close(child)
    for part in (getattr(widget, "layout", None), getattr(widget, "style", None), widget):
        if part is not None:
            part.close()


def clean_text(text: str) -> str:
    """`text` as a widget can carry it: lone surrogates can't be encoded."""
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text


def _rows(text: str) -> int:
    return min(20, 1 + sum(1 + len(line) // 90 for line in text.splitlines() or [""]))


def _with(values: Sequence[Any], extra: Any) -> list[Any]:
    """The values, and what is set already, in its place."""
    if extra is None or extra in values:
        return list(values)
    if isinstance(extra, str) and not extra.isdigit():
        return [extra, *values]
    return sorted([*values, type(values[0])(extra)])


def _whole(value: Any) -> int | None:
    return None if value is None or value == "auto" else int(value)


def _decimal(value: Any) -> Decimal | None:
    return None if value is None else Decimal(str(value).removeprefix("$"))
