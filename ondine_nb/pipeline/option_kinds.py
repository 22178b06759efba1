"""What an option is: its name on each surface, the kind of its value, and how that is checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from enum import Enum, auto
from errno import ENAMETOOLONG
from numbers import Number
from typing import Any

from ..errors import ConfigurationError, nearest
from ..text import one_line, usd

__all__ = ["EVERYWHERE", "Kind", "Option", "Surface", "option", "path_of"]


class Kind(Enum):
    """The kind of an option's value, which decides its check and its trait."""

    SWITCH = auto()  # on or off
    TEXT = auto()
    NAME = auto()  # a text that isn't empty
    CHOICE = auto()  # one of `choices`
    WHOLE = auto()  # a whole number from `least` to `most`, or one of `choices`
    USD = auto()
    SHARE = auto()  # of the rows, kept as text in percent: "5%"
    SECONDS = auto()
    URL = auto()
    PATH = auto()
    PAIRS = auto()  # names with values
    NAMES = auto()  # several names, with commas between them on the line
    COLUMNS = auto()  # names of columns, kept as a tuple; none of them is a value, too
    OBJECT = auto()  # whoever takes it checks it


class Surface(Enum):
    """Where an option can be given."""

    CELL = auto()  # on the line of `%%ondine`
    CONFIG = auto()  # by `%config OndineMagics.…`
    KEYWORD = auto()  # to `Pipeline`
    WORKBENCH = auto()  # there, and by `preview`: for a few of the rows


EVERYWHERE: frozenset[Surface] = frozenset(Surface)


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option: everything that a surface needs to offer, explain and check it.

    `default` None is "not given"; `shown` says what holds then. `short` is a flag of one letter,
    `flag` the long one where it isn't the name with dashes, "" with `short` "" an argument by
    position. `choices` are values by name, `suggested` examples for Tab and menus, `unit` that of a
    number. `hint` says why there is a `most`. `objects` are names whose objects (by their `name`)
    may be given too. `decides` tells that the answer depends on it.
    """

    help: str
    kind: Kind = Kind.TEXT
    name: str = ""
    default: Any = None
    shown: str = ""
    short: str = ""
    flag: str | None = None
    metavar: str = ""
    group: str = ""
    choices: tuple[str, ...] = ()
    suggested: tuple[str, ...] = ()
    unit: str = ""
    least: int = 1
    most: int | None = None
    hint: str = ""
    objects: tuple[str, ...] = ()
    decides: bool = False
    surfaces: frozenset[Surface] = EVERYWHERE

    @property
    def long(self) -> str:
        """The long flag, "" of an argument by position."""
        return "--" + self.name.replace("_", "-") if self.flag is None else self.flag

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags, the short one first; none of an argument by position."""
        return tuple(flag for flag in (self.short, self.long) if flag)

    @property
    def value_name(self) -> str:
        """What stands for the value in help and tables; "" of a switch."""
        if self.kind is Kind.SWITCH:
            return ""
        return self.metavar or "|".join(self.choices) or self.name.upper()

    @property
    def usage(self) -> str:
        """The long flag with what stands for its value, as `--budget USD`."""
        return f"{self.long} {self.value_name}".strip() if self.flags else ""

    @property
    def usual(self) -> str:
        """What holds where the option isn't given, as text; "" where nothing does."""
        if self.shown or self.default in (None, False, {}):
            return self.shown
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    @property
    def help_line(self) -> str:
        """The help, with what holds otherwise in parentheses."""
        return f"{self.help} ({self.usual})" if self.usual else self.help

    @property
    def values(self) -> tuple[str, ...]:
        """Values that can be offered."""
        return self.choices or self.suggested

    @property
    def can_be_emptied(self) -> bool:
        """Whether an empty text on the line takes back what the session has set."""
        return self.default is None and self.kind in (Kind.TEXT, Kind.USD, Kind.OBJECT, Kind.NAMES)

    def on(self, surface: Surface) -> bool:
        """Whether it can be given there."""
        return surface in self.surfaces

    def given(self, value: Any) -> bool:
        """Whether `value` is more than the option's default."""
        if value is None or value is False:
            return False
        return self.default is None or value != self.default  # a frame can't be compared so

    def checked(self, value: Any) -> Any:
        """The value as it is meant; None stays None.

        Raises `ConfigurationError`, naming flag, value and remedy, for what can't be meant.
        """
        check = _CHECKS.get(self.kind)
        if check is None or value is None:
            return value
        types, what = _TAKES.get(self.kind, ((object,), ""))
        if not isinstance(value, types) and not self.is_object(value):
            raise ConfigurationError(
                f"{self.long} has to be {what or self.value_name}, not {type(value).__name__}"
            )
        return check(self, value)

    def is_object(self, value: Any) -> bool:
        """Whether it is one of the objects that may be given instead of their name."""
        name = getattr(value, "name", None) if self.objects else None
        return isinstance(name, str) and name in self.objects


def option(default: Any, help: str, kind: Kind = Kind.TEXT, **more: Any) -> Any:
    """A field of a dataclass that is an option, named as the field."""
    declared = Option(help=help, kind=kind, default=default, **more)
    if isinstance(default, dict):
        return field(default_factory=dict, metadata={"option": declared})
    return field(default=default, metadata={"option": declared})


def _said(value: Any) -> str:
    """A value in an error's one line."""
    return one_line(str(value), _SAID)


def _switch(option: Option, value: Any) -> bool:
    if type(value).__name__ in _SWITCHES or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise ConfigurationError(f"{option.long} has to be True or False, not {type(value).__name__}")


def _whole(option: Option, value: Any) -> Any:
    if value in option.choices:
        return value
    try:
        number = int(str(value))
    except ValueError:
        number = option.least - 1
    if number < option.least or isinstance(value, bool):
        others = "".join(f" or '{choice}'" for choice in option.choices)
        raise ConfigurationError(
            f"{option.long} is {_said(value)}: it has to be a whole number of {option.least} or "
            f"more{others}"
        )
    if option.most is not None and number > option.most:
        raise ConfigurationError(
            f"{option.long} is {_said(value)}: it has to be {option.most} {option.unit} or fewer. "
            f"{option.hint}"
        )
    return number


def _choice(option: Option, value: Any) -> Any:
    if option.is_object(value) or value in option.choices:
        return value
    near = nearest(str(value), option.choices)
    hint = f" Did you mean '{near}'?" if near else ""
    raise ConfigurationError(
        f"{option.long} is '{_said(value)}': it has to be one of {', '.join(option.choices)}.{hint}"
    )


def _name(option: Option, value: Any) -> str:
    if not value.strip():
        raise ConfigurationError(f"{option.long} has to be a name, not {value!r}")
    return str(value)


def path_of(value: Any, what: str) -> str:
    """A path as text. Raises `ConfigurationError`, naming `what`, for what can't be one."""
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else value
    if not isinstance(path, str):
        raise ConfigurationError(f"{what} has to be a path, not {type(path).__name__}")
    try:
        os.lstat(os.path.expanduser(path))
    except ValueError as error:  # a null, half a character
        raise ConfigurationError(f"{what} {_said(path)} can't be a path: {error}") from None
    except OSError as error:
        if error.errno == ENAMETOOLONG:
            told = f"{what} {_said(path)} can't be a path: it is too long"
            raise ConfigurationError(told) from None
    return path


def _seconds(option: Option, value: Any) -> float:
    try:
        seconds = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigurationError(f"{option.long} is {_said(value)}: it has to be seconds above 0")
    return seconds


def _share(option: Option, value: Any) -> str:
    text = str(value).strip()
    in_percent = text.endswith("%")
    try:
        number = Decimal(text.removesuffix("%"))
    except InvalidOperation:
        number = Decimal(-1)
    fits = number.is_finite() and (0 <= number <= 100 if in_percent else 0 <= number < 1)
    if isinstance(value, bool) or not fits:
        raise ConfigurationError(
            f"{option.long} is {_said(value)}: write a share of the rows, like 5% or 0.05"
        )
    return f"{number if in_percent else 100 * number:f}%"


def _url(option: Option, value: Any) -> Any:
    if value:
        from ..providers import BaseUrl  # not at %load_ext: the providers take a while

        BaseUrl.read(value, option.long)
    return value


def _names(option: Option, value: Any) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if not all(isinstance(name, str) for name in names):
        raise ConfigurationError(
            f"{option.long} has to be names with commas between them, not {_said(value)}"
        )
    kept = tuple(name.strip() for name in names)
    if not all(kept) or len(set(kept)) < max(len(kept), option.least):
        raise ConfigurationError(
            f"{option.long} is '{_said(','.join(kept))}': it has to be {option.least} or more "
            "different names, with commas between them"
        )
    return kept


def _columns(option: Option, value: Any) -> tuple[str, ...]:
    """By commas from a text; a name that has one stands in a list."""
    names = value.split(",") if isinstance(value, str) and value.strip() else value or ()
    if not all(isinstance(name, str) for name in names):
        raise ConfigurationError(
            f"{option.long} has to be columns by name, like {option.usage}, not {_said(value)}"
        )
    names = tuple(name.strip() for name in names) if isinstance(value, str) else tuple(names)
    if "" in names:
        raise ConfigurationError(
            f"{option.long} is '{_said(value)}': a name is missing beside a comma"
        )
    return names


_SAID = 60  # characters of a value in an error
_SWITCHES = ("bool", "bool_")  # NumPy's is of another class
# The types of a value of each kind, and what they are called; a text is read, as on the line.
_READ = (str, Number)
_TAKES: dict[Kind, tuple[tuple[type, ...], str]] = {
    Kind.TEXT: ((str,), "text"),
    Kind.NAME: ((str,), "a name"),
    Kind.CHOICE: (_READ, ""),
    Kind.WHOLE: (_READ, "a whole number"),
    Kind.USD: (_READ, "an amount in USD"),
    Kind.SHARE: (_READ, "a share of the rows, like 5% or 0.05"),
    Kind.SECONDS: (_READ, "seconds"),
    Kind.URL: ((str,), "a URL"),
    Kind.PAIRS: ((Mapping,), "names with values (a dict)"),
    Kind.NAMES: ((str, list, tuple), "names with commas between them"),
    Kind.COLUMNS: ((str, list, tuple), "columns by name, with commas between them"),
}
_CHECKS: dict[Kind, Callable[[Option, Any], Any]] = {
    Kind.SWITCH: _switch,
    Kind.TEXT: lambda option, value: value,
    Kind.NAME: _name,
    Kind.CHOICE: _choice,
    Kind.WHOLE: _whole,
    Kind.USD: lambda option, value: usd(value, option.long),
    Kind.SHARE: _share,
    Kind.SECONDS: _seconds,
    Kind.URL: _url,
    Kind.PATH: lambda option, value: path_of(value, option.long),
    Kind.PAIRS: lambda option, value: value,
    Kind.NAMES: _names,
    Kind.COLUMNS: _columns,
}
