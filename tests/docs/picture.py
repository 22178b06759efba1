"""The picture of `docs/architecture.md`: how a row flows, and which room imports which.

Every room is a step of a staircase. A dot to its left says that it imports the room whose step is
above the dot; since a room imports from lower floors only, there is none to its right. The numbers
are the way of one row. `tests/docs/test_architecture.py` holds both against the code.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from tests.test_layers import FILES, FLOORS, room, rooms_of

__all__ = ["WAY", "graph", "rooms", "svg"]

# What becomes of a row, and the function that does it, in the order of a run.
WAY = (
    ("taken from the frame, in chunks", "orchestration", "RowSet.asked"),
    ("its prompt is rendered", "prompts", "Template.render"),
    ("looked up: was it paid for before?", "journal", "Journal.lookup"),
    ("waits for a free slot", "sending", "ConcurrencyLimit.__aenter__"),
    ("waits for the server's rate limit", "sending", "RateLimiter.turn"),
    ("its worst case is reserved", "sending", "Budget.reserve"),
    ("sent", "providers", "AnthropicProvider.send"),
    ("the raw answer goes to the disk", "journal", "Files.insert"),
    ("counted as paid", "orchestration", "ExecutionContext.add_usage"),
    ("its real cost is charged", "sending", "Reservation.settle"),
    ("read into typed cells, or asked again", "prompts", "Schema.parse"),
    ("counted as done, in any order", "orchestration", "ExecutionContext.complete_row"),
    ("put in its place in the frame", "orchestration", "RowSet.to_frame"),
)
_STEP = 32  # pixels a room
_LEFT, _TOP = 24, 40
_LABEL = 190
_STYLE = """
svg { background: #fff; font: 12px system-ui, sans-serif; }
text { fill: #1f2933; } .quiet { fill: #616e7c; } .head { font-weight: 600; font-size: 14px; }
.line { stroke: #e4e7eb; } .stair { fill: #e4e7eb; } .dot { fill: #52708f; }
.badge { fill: #b4531a; } .number { fill: #fff; font-size: 10px; text-anchor: middle; }
@media (prefers-color-scheme: dark) {
  svg { background: #1b1f24; } text { fill: #e4e7eb; } .quiet { fill: #9aa5b1; }
  .line { stroke: #323f4b; } .stair { fill: #323f4b; } .dot { fill: #9fb8d1; }
  .number { fill: #fff; }
}
"""


def rooms() -> list[str]:
    """All rooms, from left to right."""
    return [name for layer in FLOORS for name in layer]


def graph() -> dict[str, set[str]]:
    """The rooms that each room imports from, by the sources."""
    known: dict[str, set[str]] = {name: set() for name in rooms()}
    for file in FILES:
        if file != "__init__.py":
            known[room(file)] |= rooms_of(file) - {room(file)}
    return known


def svg() -> str:
    """The picture."""
    width = _LEFT + len(rooms()) * _STEP + _LABEL
    height = _TOP + len(rooms()) * _STEP + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        "<title>How a row flows, and which room imports which</title>",
        f"<style>{_STYLE}</style>",
        *_staircase(),
        *_way(width - 330),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _staircase() -> Iterator[str]:
    yield f'<text class="head" x="{_LEFT}" y="24">Rooms: a dot is an import</text>'
    at = {name: number for number, name in enumerate(rooms())}
    known = graph()
    for layer in FLOORS:
        y = _TOP + at[layer[0]] * _STEP
        yield f'<path class="line" d="M{_LEFT} {y}H{_LEFT + at[layer[-1]] * _STEP + _STEP}"/>'
    for name, row in at.items():
        x, y = _LEFT + row * _STEP, _TOP + row * _STEP
        yield f'<rect class="stair" x="{x}" y="{y}" width="{_STEP}" height="{_STEP}"/>'
        yield f'<text x="{x + _STEP + 5}" y="{y + 12}">{escape(name)}</text>'
        yield from _badges(name, x + _STEP + 16 + int(7.4 * len(name)), y)
        for other in sorted(known[name], key=at.__getitem__):
            yield _dot(name, other, _LEFT + at[other] * _STEP, y)


def _dot(name: str, other: str, x: int, y: int) -> str:
    middle = _STEP // 2
    return (
        f'<circle class="dot" data-from="{name}" data-to="{other}" '
        f'cx="{x + middle}" cy="{y + middle}" r="4">'
        f"<title>{name} imports {other}</title></circle>"
    )


def _badges(name: str, x: int, y: int) -> Iterator[str]:
    numbers = [number for number, (_, place, _) in enumerate(WAY, 1) if place == name]
    for place, number in enumerate(numbers):
        yield _badge(number, x + 18 * place, y + _STEP // 2)


def _badge(number: int, x: int, y: int) -> str:
    return (
        f'<circle class="badge" cx="{x}" cy="{y}" r="8"/>'
        f'<text class="number" x="{x}" y="{y + 4}">{number}</text>'
    )


def _way(x: int) -> Iterator[str]:
    yield f'<text class="head" x="{x - 12}" y="24">The way of a row</text>'
    for number, (words, place, _) in enumerate(WAY, 1):
        y = _TOP + 8 + (number - 1) * 26
        if number < len(WAY):
            yield f'<path class="line" d="M{x} {y}V{y + 26}"/>'
        yield _badge(number, x, y)
        yield (
            f'<text x="{x + 16}" y="{y + 4}">{escape(words)} '
            f'<tspan class="quiet">{escape(place)}</tspan></text>'
        )
