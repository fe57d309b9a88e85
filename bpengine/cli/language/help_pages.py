"""Help in the language that is set: texts, headings, placeholders in capitals, and --lang for each command.

The library builds a help page in English, text by text; each text is translated before its lines are broken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import copy
from typing import Annotated, Any, TypeAlias

import typer

from bpengine.i18n.language import current, localized, whole_sentence

Command: TypeAlias = Any  # click's, of which typer has a copy without type annotations
HelpFormatter: TypeAlias = Any
CAPITALS = re.compile(r"\b[A-Z][A-Z_]*[A-Z]\b|<[a-z]+(?:\[[a-z]+\])?(?: range)?>")  # FILE, <int range>, <list[str]>
NOTE = "  ["  # the end of a help text: defaults, limits
Lang = Annotated[
    str | None,
    typer.Option(
        "--lang",
        metavar="LANG",
        help="Language of what is printed: en, or pt for Brazilian Portuguese.  [default: the locale's]",
    ),
]


def prepare(group: Command) -> None:
    """Make a group, which has the option --lang, and its commands print help in the language that is set, and accept --lang.

    group.commands.prepare is called with each command when it is created.
    """
    option = copy(next(parameter for parameter in group.params if "--lang" in parameter.opts))
    option.expose_value = False

    def prepare_command(command: Command) -> None:
        _prepare(command)
        if all("--lang" not in parameter.opts for parameter in command.params):
            command.params.append(option)

    _prepare(group)
    group.commands.prepare = prepare_command


def _prepare(command: Command) -> None:
    page = type("HelpPage", (_HelpPage, command.context_class.formatter_class), {})
    command.context_class = type("Context", (command.context_class,), {"formatter_class": page})


class _HelpPage:
    """Translates texts before the library's formatter lays them out."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write the line of the usage."""
        _formatter(self).write_usage(prog, capitals(args), f"{localized('Usage:')} ")

    def write_heading(self, heading: str) -> None:
        """Write the heading of a section."""
        _formatter(self).write_heading(localized(heading))

    def write_text(self, text: str) -> None:
        """Write the text of a command."""
        _formatter(self).write_text("\n\n".join(map(_paragraph, text.split("\n\n"))))

    def write_dl(self, rows: Sequence[tuple[str, str]], *args: Any, **options: Any) -> None:
        """Write options or commands, a line for each."""
        translated = [(capitals(name), option_help(text)) for name, text in rows]
        _formatter(self).write_dl(translated, *args, **options)


def _formatter(page: _HelpPage) -> HelpFormatter:
    return super(_HelpPage, page)


def _paragraph(block: str) -> str:
    """Return a translated paragraph: line by line if its line breaks are kept, otherwise as one text."""
    if block.lstrip().startswith("\b"):
        return localized(block)
    return localized(" ".join(block.split("\n")))


def option_help(text: str) -> str:
    """Return the translated help of an option: its text as a whole, and the part in brackets after it."""
    head, notes = text, ""
    while whole_sentence(head) is None and NOTE in head:
        head, _, note = head.rpartition(NOTE)
        notes = f"{NOTE}{_note(note)}{notes}"
    return f"{localized(head)}{notes}"


def _note(note: str) -> str:
    """Return "default: 40; x>=1]" with its words translated."""
    return "; ".join(localized(part) for part in note.removesuffix("]").split("; ")) + "]"


def capitals(text: str) -> str:
    """Return a text with the names of values, such as FILE, in the language that is set."""
    return text if current() == "en" else CAPITALS.sub(lambda match: localized(match[0]), text)
