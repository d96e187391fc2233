"""Values as records can hold them: JSON that every reader understands, and none larger than agreed."""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any, Final

import orjson

from workbench.events import JSON, canonical

MAX_VALUE_BYTES = 1 << 20
"""Bytes of one recorded value (arguments, response, detail). Of a larger one size, hash and beginning are kept."""

MAX_REFUSED_BYTES = 16 << 10
"""Bytes of the arguments of a call that was turned down: nothing was done with them."""

MAX_TEXT_LENGTH = 64 << 10
"""Characters of one recorded text (question, answer, message)."""

MAX_DEPTH: Final = 64
"""Levels of nesting that a request may have; schemas and validators below us recurse."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_INT = (1 << 63) - 1
_PREVIEW = 2048


def text(value: Any) -> str:
    """`value` as storable text: at most `MAX_TEXT_LENGTH` characters, lone surrogates replaced."""
    if type(value) is str and len(value) <= MAX_TEXT_LENGTH and value.isascii():
        return value  # nearly always, a dozen times in every record
    found = "" if value is None else value if isinstance(value, str) else str(value)
    if len(found) > MAX_TEXT_LENGTH:
        found = found[:MAX_TEXT_LENGTH] + f"… ({len(found)} characters)"
    return found if found.isascii() else _SURROGATE.sub("\ufffd", found)


def whole(value: Any) -> int | None:
    """`value` as a 64-bit integer, or None when it is no number."""
    if type(value) is int and -_MAX_INT <= value <= _MAX_INT:
        return value
    if not isinstance(value, (int, float)) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return max(-_MAX_INT, min(_MAX_INT, int(value)))


def fingerprint(arguments: Any) -> str:
    """SHA-256 of the canonical JSON of a call's arguments as they were sent."""
    try:
        return hashlib.sha256(canonical(arguments)).hexdigest()
    except TypeError:  # beyond 64 bits, lone surrogates, keys that are no text
        return hashlib.sha256(orjson.dumps(plain(arguments), option=orjson.OPT_SORT_KEYS)).hexdigest()


def bounded(value: Any, most: int = MAX_VALUE_BYTES) -> Any:
    """`value` if it is JSON and its encoding fits `most` bytes, else its size, hash and beginning."""
    if value is None:
        return None
    try:
        encoded = orjson.dumps(value)
    except TypeError:
        value = plain(value)
        encoded = orjson.dumps(value)
    if len(encoded) <= most:
        return value
    return {
        "omitted": True,
        "bytes": len(encoded),
        "sha256": hashlib.sha256(encoded).hexdigest(),
        "beginning": encoded[:_PREVIEW].decode("utf-8", "ignore"),
    }


def left_out(value: Any) -> JSON:
    """What is kept of a value that is not looked at: its size and hash, and nothing of what it says."""
    try:
        encoded = orjson.dumps(value)
    except TypeError:
        encoded = orjson.dumps(plain(value))
    return {"omitted": True, "bytes": len(encoded), "sha256": hashlib.sha256(encoded).hexdigest()}


def plain(value: Any, depth: int = 0) -> Any:
    """`value` as JSON that every reader can hold.

    Integers beyond 64 bits become their decimal text, lone surrogates U+FFFD, keys text, unknown objects their `str`,
    and what lies deeper than 100 levels is left out.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if -_MAX_INT <= value <= _MAX_INT:
            return value
        return str(value) if value.bit_length() < 10_000 else hex(value)  # Python refuses to print very long decimals
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if depth >= 100:
        return "… (nested deeper than 100 levels)"
    if isinstance(value, dict):
        return {text(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item, depth + 1) for item in value]
    return text(value)


def without_surrogates(value: Any) -> Any:
    """A JSON value whose texts have U+FFFD in place of lone surrogates, which no encoder writes."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(item) for key, item in value.items()}
    return [without_surrogates(item) for item in value] if isinstance(value, list) else value


def deeper_than(value: Any, levels: int) -> bool:
    """Whether lists and objects of `value` are nested in more than `levels` levels."""
    current = [value]
    for _ in range(levels):
        below: list[Any] = []
        for item in current:
            if isinstance(item, dict):
                below += [child for child in item.values() if isinstance(child, (dict, list))]
            elif isinstance(item, list):
                below += [child for child in item if isinstance(child, (dict, list))]
        if not below:
            return False
        current = below
    return True
