"""Which other arguments a person lets through beside those that were approved: by JSON pointer, and narrowly.

Arguments that no pattern names have to be the approved ones. A pattern stands for one text, number, boolean or null.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from workbench.events import JSON, MisuseError, digest
from workbench.json_values import portable

MAX_PATTERNS: Final = 20
MAX_CHOICES: Final = 100
MAX_PREFIX: Final = 1000

_FORMS: Final = 'Expected {"enum": [values]}, {"prefix": "text"} or {"range": [lowest, highest]}.'
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/]*", re.IGNORECASE)
_LEAVES: Final = re.compile(r"\.\.|\\|%(?:2e|2f|5c|00)|[\x00-\x1f\x7f]", re.IGNORECASE)
"""What leads out of a path, or hides that it does."""


def check_patterns(patterns: Mapping[str, Any], arguments: JSON) -> None:
    """See to it that each pattern is one, and that the approved arguments fit it.

    Args:
        patterns: JSON pointer (RFC 6901) → pattern.
        arguments: the approved ones.

    Raises:
        MisuseError: a pointer leads nowhere, a pattern is none, or an approved value does not fit its own pattern.
    """
    if len(patterns) > MAX_PATTERNS:
        raise MisuseError(f"{len(patterns)} patterns are too many.", hint=f"Give at most {MAX_PATTERNS}.")
    for pointer, pattern in patterns.items():
        _check_pattern(pointer, pattern)
        try:
            value = _at(arguments, pointer)
        except LookupError:
            raise MisuseError(
                f"Nothing stands at {pointer!r} in the approved arguments.",
                hint="Give a JSON pointer to one of their values, e.g. /amount or /items/0/id.",
            ) from None
        if not fits(pattern, value):
            raise MisuseError(
                f"The approved value at {pointer} does not fit its own pattern.", hint="Widen the pattern."
            )


def template(arguments: JSON, pointers: list[str]) -> str | None:
    """Hash of the arguments without the values that patterns stand for; None when a pointer leads nowhere."""
    rest = copy.deepcopy(arguments)
    try:
        for pointer in pointers:
            *path, last = _keys(pointer)
            holder: Any = rest
            for key in path:
                holder = _step(holder, key)
            _step(holder, last)
            holder[int(last) if isinstance(holder, list) else last] = None
        return digest([sorted(pointers), portable(rest)])
    except (LookupError, TypeError, ValueError):
        return None


def matches(arguments: JSON, patterns: Mapping[str, Any], expected: str) -> bool:
    """Whether `arguments` are the approved ones, the values that a pattern stands for put aside, and those fit.

    Args:
        arguments: of a call.
        patterns: as `check_patterns` accepted them.
        expected: `template` of the approved arguments.
    """
    if template(arguments, list(patterns)) != expected:
        return False
    return all(fits(pattern, _at(arguments, pointer)) for pointer, pattern in patterns.items())


def fits(pattern: JSON, value: Any) -> bool:
    """Whether one value fits one pattern. Types are exact: `1` is neither `"1"` nor `true`."""
    ((form, given),) = pattern.items()
    if form == "enum":
        return any(type(value) is type(each) and value == each for each in given)
    if form == "prefix":
        return type(value) is str and value.startswith(given) and not _LEAVES.search(value[len(given) :])
    low, high = given
    return type(value) in (int, float) and low <= value <= high


def _check_pattern(pointer: str, pattern: Any) -> None:
    if not pointer.startswith("/"):
        raise MisuseError(
            f"{pointer!r} is no JSON pointer to an argument.", hint="Expected e.g. /amount or /items/0/id."
        )
    if not isinstance(pattern, dict) or len(pattern) != 1:
        raise MisuseError(f"The pattern at {pointer} cannot be read.", hint=_FORMS)
    ((form, given),) = pattern.items()
    match form, given:
        case "enum", [*choices] if 0 < len(choices) <= MAX_CHOICES and all(map(_is_scalar, choices)):
            return
        case "prefix", str() if 0 < len(given) <= MAX_PREFIX:
            if _ORIGIN.fullmatch(given):
                raise MisuseError(
                    f"The prefix at {pointer} ends inside the name of a host, which anybody can lengthen.",
                    hint=f"End it with a slash: {given}/",
                )
            return
        case "range", [low, high] if _is_number(low) and _is_number(high) and low <= high:
            return
    raise MisuseError(f"The pattern at {pointer} cannot be read.", hint=_FORMS)


def _is_scalar(value: Any) -> bool:
    return value is None or type(value) in (str, bool) or _is_number(value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _at(arguments: JSON, pointer: str) -> Any:
    found: Any = arguments
    for key in _keys(pointer):
        found = _step(found, key)
    return found


def _keys(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _step(holder: Any, key: str) -> Any:
    """Raises LookupError where there is no such member."""
    if isinstance(holder, dict):
        return holder[key]
    if isinstance(holder, list) and re.fullmatch(r"0|[1-9][0-9]{0,8}", key, re.ASCII):
        return holder[int(key)]
    raise LookupError(key)
