"""Parses the line of `%%ondine` (words, flags, `$name`), and completes it on Tab."""

from __future__ import annotations

import argparse
import keyword
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from IPython.core.completer import SimpleCompletion, context_matcher

from ..data import ENDINGS, frames_in
from ..errors import ConfigurationError, nearest
from ..pipeline import OPTIONS, Kind, Option, Surface
from .input_transform import magic_line

__all__ = [
    "HelpRequested",
    "candidates",
    "in_prompt",
    "matcher",
    "parse_line",
    "parse_resume",
    "parser",
    "resolve_frame",
    "split",
    "variables",
]


_OF_IPYTHON = frozenset({"In", "Out", "exit", "get_ipython", "open", "quit"})
_DESCRIPTION = (
    "Run the prompt in the cell's body over every row of a DataFrame. {column} stands for the "
    "row's value. The frame with the new columns is bound to OUT, the run to OUT_run."
)


class HelpRequested(Exception):  # noqa: N818 - an answer, not a failure
    """`--help` was given; the text is the message."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        unknown = re.fullmatch(r"unrecognized arguments: (.*)", message, re.DOTALL)
        without = re.fullmatch(r"argument (\S+): expected one argument", message)
        if unknown:
            message = self._unknown(unknown.group(1))
        elif without:
            message = f"{without.group(1)} needs a value behind it"
        raise ConfigurationError(f"{message} (%%ondine --help lists the options)")

    def _unknown(self, words: str) -> str:
        flag = re.search(r"(?:^|\s)(-[^\s=]*)", words)
        if not flag:
            if " " in words:
                return f"what is '{words}'? A value with spaces stands in quotes"
            return (
                f"what is '{words}'? The frame is given with -i: write %%ondine OUT -i {words}. "
                "A value with spaces stands in quotes"
            )
        flags = [flag for action in self._actions for flag in action.option_strings]
        near = nearest(flag.group(1), flags)
        hint = f" Did you mean {near}?" if near else ""
        return f"there is no option {flag.group(1)}.{hint}"


def parser() -> argparse.ArgumentParser:
    """The one parser of the cell magic; a value that isn't given is None."""
    made = _Parser(
        prog="%%ondine",
        usage="%(prog)s [OUT] -i FRAME [options]",
        description=_DESCRIPTION,
        add_help=False,
        allow_abbrev=False,
    )
    groups: dict[str, Any] = {"": made}
    for option in OPTIONS.values():
        if option.on(Surface.CELL):
            if option.group not in groups:
                groups[option.group] = made.add_argument_group(option.group)
            _add(groups[option.group], option)
    return made


def _add(to: Any, option: Option) -> None:
    text = option.help_line.replace("%", "%%")
    if not option.flags:
        to.add_argument(option.name, nargs="?", metavar=option.value_name, help=text)
    elif option.kind is Kind.SWITCH:
        to.add_argument(
            *option.flags, dest=option.name, action="store_true", default=None, help=text
        )
    else:
        more: dict[str, Any] = {"action": "append"} if option.kind is Kind.PAIRS else {}
        if option.kind is Kind.COLUMNS:  # the bare flag names none of them
            more = {"nargs": "?", "const": ""}
        to.add_argument(
            *option.flags, dest=option.name, metavar=option.value_name, help=text, **more
        )


def parse_line(line: str, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The given options by name, `$name` replaced by that object.

    Raises `ConfigurationError` for a line that can't be meant, `HelpRequested` for `--help`.
    """
    made = parser()
    given = vars(made.parse_args(split(line)))
    wanted = given.pop("help")
    said = {name: value for name, value in given.items() if value is not None}
    if wanted or said == {"out": "help"}:
        raise HelpRequested(made.format_help())
    options = {name: _value(value, name, namespace) for name, value in said.items()}
    if "params" in options:
        options["params"] = _params(options["params"], namespace)
    out = options.get("out")
    if out is not None and (not str(out).isidentifier() or keyword.iskeyword(str(out))):
        raise ConfigurationError(f"'{out}' can't be a variable: name the result like `labeled`")
    return options


def parse_resume(line: str, namespace: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The run that `RUN [-i FRAME] [options]` names, and the given options.

    Raises `ConfigurationError` where no run is named, or something beside it.
    """
    words = line.split(maxsplit=1)
    if not words or words[0].startswith("-"):
        raise ConfigurationError("which run? Give its name or id: %ondine resume labeled")
    given = parse_line(words[1] if len(words) > 1 else "", namespace)
    if "out" in given:
        raise ConfigurationError(f"what is '{given['out']}'? The frame is given with -i FRAME")
    return words[0], given


def split(line: str) -> list[str]:
    """The words of a line. Spaces in quotes and in brackets don't separate.

    Quotes around a whole value are stripped; inside a word (as in ``df[df.x=='a b']``) they stay.
    Raises `ConfigurationError` for a quote without an end.
    """
    words, at = [], 0
    while at < len(line):
        if line[at].isspace():
            at += 1
            continue
        word, at = _word(line, at)
        words.append(word)
    return words


def _word(line: str, at: int) -> tuple[str, int]:
    flag = re.match(r"--[\w-]+=(?=[\"'])", line[at:])
    head = flag.group() if flag else ""
    start = at + len(head)
    if line[start] in "\"'":
        end = _quote_end(line, start)
        if end == len(line) or line[end].isspace():
            return head + _unquoted(line[start:end]), end
    end, depth = at, 0
    while end < len(line) and (depth > 0 or not line[end].isspace()):
        if line[end] in "\"'":
            end = _quote_end(line, end)
            continue
        depth += (line[end] in "([{") - (line[end] in ")]}")
        end += 1
    return line[at:end], end


def _quote_end(line: str, start: int) -> int:
    """The position behind the quote that closes the one at `start`."""
    at = start + 1
    while at < len(line):
        if line[at] == "\\":
            at += 2
        elif line[at] == line[start]:
            return at + 1
        else:
            at += 1
    raise ConfigurationError(f"a quote has no end: {line[start : start + 40]}")


def _unquoted(text: str) -> str:
    quote = text[0]
    return text[1:-1].replace("\\" + quote, quote)


def _value(value: Any, name: str, namespace: Mapping[str, Any]) -> Any:
    """`$name` as that object; a schema's bare name as the class or dict of that name."""
    if not isinstance(value, str):
        return value
    if re.match(r"\$[^\W\d]", value):  # "$5 at most" is a text
        return _object(value[1:], namespace, f"--{name.replace('_', '-')}")
    if name == "schema" and value.isidentifier() and value in namespace:
        return namespace[value]
    return value


def _object(name: str, namespace: Mapping[str, Any], flag: str) -> Any:
    if name in namespace:
        return namespace[name]
    near = nearest(name, variables(namespace))
    hint = f" Did you mean ${near}?" if near else ""
    raise ConfigurationError(f"{flag}: there is no variable '{name}' in this notebook.{hint}")


def variables(namespace: Mapping[str, Any]) -> list[str]:
    """The names in a notebook that are the user's own."""
    return [name for name in namespace if not name.startswith("_") and name not in _OF_IPYTHON]


def _params(pairs: list[str], namespace: Mapping[str, Any]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigurationError(f"-p {pair}: write it like -p tone=friendly")
        if len(value) > 1 and value[0] in "\"'" and value[-1] == value[0]:
            value = _unquoted(value)
        params[name] = _value(value, f"param {name}", namespace)
    return params


def resolve_frame(
    text: Any, namespace: dict[str, Any], *, out: Any = None, how: str = "with -i FRAME"
) -> Any:
    """The object that `-i` names, or the path. Raises `ConfigurationError` where there is none.

    A frame whose name stands in the place of OUT is told where it goes; `how` says how to give one.
    """
    frames = frames_in(namespace)
    listed = f" DataFrames here: {', '.join(frames)}." if frames else " There is no DataFrame yet."
    if text is None:
        if out in frames:
            raise ConfigurationError(
                f"which frame? '{out}' stands where the result is named: write %%ondine OUT -i "
                f"{out}"
            )
        raise ConfigurationError(f"which frame? Give it {how}.{listed}")
    if not isinstance(text, str):
        return text
    if text.isidentifier():
        if text in namespace:
            return namespace[text]
        near = nearest(text, frames)
        hint = f" Did you mean -i {near}?" if near else ""
        raise ConfigurationError(f"-i: there is no variable '{text}'.{listed}{hint}")
    from ..data import MEDIA_ENDINGS, matches_files  # not at %load_ext

    path = Path(text).expanduser()
    if path.is_file() or ("/" in text and path.is_dir()) or matches_files(text):
        return text
    try:
        # The user's own expression in the user's own namespace, as if typed into a cell.
        return eval(text, namespace)  # noqa: S307
    except Exception as error:
        if text.lower().endswith((*ENDINGS, *MEDIA_ENDINGS)):
            return text  # a file that isn't there: whoever opens it says so
        raise ConfigurationError(
            f"-i: '{text}' can't be evaluated ({type(error).__name__}: {error}).{listed}"
        ) from error


_COMMANDS = (
    "cost",
    "doctor",
    "help",
    "labels",
    "models",
    "panel",
    "resume",
    "review",
    "runs",
    "score",
    "show",
    "stop",
    "tries",
)


def matcher(magics: Any) -> Callable[[Any], Any]:
    """An IPython matcher that answers only on a line of ours."""

    @context_matcher(identifier="ondine_nb", priority=100)  # type: ignore[untyped-decorator]
    def match(context: Any) -> dict[str, Any]:
        line = context.line_with_cursor[: context.cursor_position]
        before = context.full_text.split("\n")[: context.cursor_line]
        first, _ = magic_line("\n".join([*before, line]))
        on = all(each.rstrip().endswith("\\") for each in before)  # the line goes on up to here
        ours = on and first.startswith("%%ondine ")
        in_body = not on and first.startswith("%%ondine ")
        line = first + " " * (line[-1:].isspace()) if ours else line
        word = re.search(r"\S*$", line)
        fragment = word.group() if word else ""
        command = re.match(r"\s*%ondine\s+(\S*)$", line)
        if in_body:
            found, fragment = in_prompt(first, line, magics.shell.user_ns)
        elif command:
            found = [name for name in _COMMANDS if name.startswith(command.group(1))]
        elif ours:
            found = candidates(line, magics.shell.user_ns)
        else:
            found = _of_a_run(line, magics.shell.user_ns)
        # IPython replaces what it takes for a word; a flag's dashes aren't part of it for it.
        return {
            "completions": [SimpleCompletion(text=text, type="param") for text in found],
            "matched_fragment": fragment,
            "suppress": bool(found),
        }

    return match  # type: ignore[no-any-return]


def _of_a_run(line: str, namespace: dict[str, Any]) -> list[str]:
    """What a line `%ondine COMMAND …` offers of the runs that are there."""
    if not re.match(r"\s*%ondine\s", line):
        return []
    from .judging import judging_candidates

    return judging_candidates(line, namespace)


def candidates(line: str, namespace: dict[str, Any]) -> list[str]:
    """What the last word of `line` (up to the cursor) can become."""
    words = line.split(" ")
    word, before = words[-1], words[-2] if len(words) > 1 else ""
    if before in OPTIONS["input"].flags:
        return [name for name in frames_in(namespace) if name.startswith(word)]
    if before in OPTIONS["examples"].flags:
        from ..evaluation import label_sets

        named = dict.fromkeys([*label_sets(), *frames_in(namespace)])
        return [name for name in named if name.startswith(word)]
    if before in OPTIONS["model"].flags and not word.startswith("$"):
        return [name for name in _model_words() if name.startswith(word)]
    if values := _values(before):
        return [value for value in values if value.startswith(word)]
    if word.startswith("$"):
        return [f"${name}" for name in variables(namespace) if name.startswith(word[1:])]
    if not word.startswith("-"):
        return []
    offered = [option for option in OPTIONS.values() if option.on(Surface.CELL)]
    flags = [flag for option in offered for flag in option.flags]
    return [flag for flag in flags if flag.startswith(word) and flag not in words[:-1]]


_BRACED = re.compile(r"(?<!\{)\{([^{}:]*)(?:(:)(\w*))?$")
_FILTERED = re.compile(r"\{\{[^{}|]+\|\s*(\w*)$")


def in_prompt(first: str, line: str, namespace: dict[str, Any]) -> tuple[list[str], str]:
    """What the end of a line of the prompt can become, and which part of it that replaces.

    Behind a brace stand the columns of the frame that the magic's line names, behind a colon the
    forms of pictures and documents; with `--jinja` their filters behind a bar.
    """
    from ..prompts import FORMS  # not at %load_ext

    if "--jinja" in first.split():
        filtered = _FILTERED.search(line)
        begun = filtered.group(1) if filtered else ""
        return ([form for form in FORMS if form.startswith(begun)] if filtered else []), begun
    braced = _BRACED.search(line)
    if braced is None:
        return [], ""
    column, colon, form = braced.groups()
    if colon:
        return [each for each in FORMS if each.startswith(form)], form
    named = re.search(r"\s(?:-i|--input)[\s=]+(\w+)", first)
    if named is None or named.group(1) not in frames_in(namespace):
        return [], column
    names = map(str, namespace[named.group(1)].columns)
    return [name for name in names if name.startswith(column)], column


def _model_words() -> list[str]:
    """Names that `-m` takes: what is suggested, the last lists' models, providers' prefixes."""
    from ..journal import home
    from ..providers import KNOWN, LOCAL, model_names, packaged

    prefixes = [f"{name}:" for name in (*KNOWN, *packaged()) if name != LOCAL]
    suggested = OPTIONS["model"].suggested
    return list(dict.fromkeys([*suggested, *model_names(home()), *prefixes]))


def _values(flag: str) -> tuple[str, ...]:
    """What can be offered behind a flag."""
    return next((option.values for option in OPTIONS.values() if flag in option.flags), ())
