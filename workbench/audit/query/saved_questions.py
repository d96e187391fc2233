"""Saved, named questions to the record: `questions/*.sql`, one file each.

A file begins with comment lines: the description, then one line `-- $name = default` for every parameter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import orjson

from workbench.events import MisuseError
from workbench.suggestions import close_names

_PARAMETER = re.compile(r"^-- \$([a-z_]+) = (.+)$")


@dataclass(frozen=True)
class SavedQuestion:
    """One saved question. Run it with `reader.sql(question.sql, {**question.parameters, **given})`."""

    name: str
    description: str
    sql: str
    parameters: dict[str, Any] = field(default_factory=dict)
    """Every parameter of the statement and its default."""

    def filled(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters with what was given in place of their defaults.

        Raises:
            MisuseError: it has no such parameter.
        """
        unknown = sorted(set(given) - set(self.parameters))
        if unknown:
            expected = ", ".join(f"{k}={v}" for k, v in self.parameters.items()) or "no parameters"
            raise MisuseError(f"{self.name} was given {', '.join(unknown)}.", hint=f"Expected {expected}.")
        return {**self.parameters, **given}


def read_question(name: str, text: str) -> SavedQuestion:
    """The question that a file holds.

    Raises:
        MisuseError: it has no description, or a default that is neither a number nor quoted text.
    """
    lines = text.splitlines()
    if not lines or not lines[0].startswith("-- ") or _PARAMETER.match(lines[0]):
        raise MisuseError(f"The question {name} has no description.", hint="Begin the file with `-- what it answers`.")
    parameters = {}
    for line in lines[1:]:
        match = _PARAMETER.match(line)
        if match is None:
            break
        default = match[2].strip()
        try:
            quoted = len(default) > 1 and default[0] == default[-1] == "'"
            parameters[match[1]] = default[1:-1] if quoted else orjson.loads(default)
        except orjson.JSONDecodeError as e:
            raise MisuseError(
                f"The question {name} gives ${match[1]} the default {default}.", hint="Quote text."
            ) from e
    sql = "\n".join(lines[1 + len(parameters) :]).strip()
    return SavedQuestion(name, lines[0].removeprefix("-- ").strip(), sql, parameters)


def questions() -> list[SavedQuestion]:
    """The questions that ship, by name."""
    folder = files("workbench.audit.query").joinpath("questions")
    found = [file for file in folder.iterdir() if file.name.endswith(".sql")]
    return [
        read_question(file.name.removesuffix(".sql"), file.read_text(encoding="utf-8"))
        for file in sorted(found, key=lambda file: file.name)
    ]


def saved_question(name: str) -> SavedQuestion:
    """The question of that name.

    Raises:
        MisuseError: there is none; the hint says which there are.
    """
    known = {question.name: question for question in questions()}
    if name not in known:
        close = close_names(name, known, 1)
        hint = f"Did you mean {close[0]}?" if close else "Saved are: " + ", ".join(known)
        raise MisuseError(f"No saved question {name!r}.", hint=hint)
    return known[name]
