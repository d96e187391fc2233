"""JSON that every program on its way, and the record, can hold: its bounds, and the nearest form of what is beyond.

What one stop takes, the next must take, too. `MAX_DEPTH` bounds requests and their arguments wherever they pass: the
doors, `Gateway.call`, approvals, redaction, configuration files. What is larger than that bounds what others send us,
which is read as far as it goes. `tests/test_json_values.py` has all bounds in a table.
"""

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

MAX_RECORDED_DEPTH: Final = 100
"""Levels that are kept of what is no JSON and is recorded nevertheless; more than `MAX_DEPTH`, since a record stands
around it, and less than the 254 that encoders take."""

MAX_DEFINITION_DEPTH: Final = 200
"""Levels of the definition of a tool: generated schemas are deep, and encoders take 254."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
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
    and what lies deeper than `MAX_RECORDED_DEPTH` is left out. Each half of a pair of surrogates is replaced by itself:
    fingerprints of refused calls depend on it.
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
    if depth >= MAX_RECORDED_DEPTH:
        return f"… (nested deeper than {MAX_RECORDED_DEPTH} levels)"
    if isinstance(value, dict):
        return {text(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item, depth + 1) for item in value]
    return text(value)


def joined_surrogates(text: str) -> str:
    """`text` with halves that stand beside one another as the one character that they mean (UTF-16, JSON escapes)."""
    return _SURROGATE_PAIR.sub(lambda pair: pair.group().encode("utf-16-le", "surrogatepass").decode("utf-16-le"), text)


def replaced_surrogates(text: str) -> str:
    """`text` with U+FFFD in place of lone surrogates, which no encoder writes."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def without_surrogates(value: Any) -> Any:
    """A JSON value whose texts have U+FFFD in place of lone surrogates, which no encoder writes."""
    if isinstance(value, str):
        return replaced_surrogates(value)
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(item) for key, item in value.items()}
    return [without_surrogates(item) for item in value] if isinstance(value, list) else value


def unportable(value: Any) -> str:
    """Why `value` cannot travel as JSON (RFC 8259, I-JSON of RFC 7493), in words; empty when it can."""
    return portability(value)[0]


def portability(value: Any) -> tuple[str, int]:
    """Why `value` cannot travel, and how many bytes its JSON has where it can.

    The doors on the wire refuse such bodies as they parse them; Python code and models can still bring lone surrogates,
    integers beyond 64 bits, numbers that are none, endless nesting, or objects of their own.
    """
    try:
        encoded = orjson.dumps(value)
    except (TypeError, RecursionError) as e:
        return f"a value is not portable JSON: {e}", 0
    if encoded.count(b"[") + encoded.count(b"{") > MAX_DEPTH and deeper_than(value, MAX_DEPTH):
        return f"they are nested deeper than {MAX_DEPTH} levels", 0
    # `find`, because for `in` Python first tries bytes as a number, raises, and clears the error
    if encoded.find(b"null") >= 0 and _not_finite(value):  # that is what became of NaN and the infinities
        return "a number is NaN or infinite", 0
    return "", len(encoded)


class UnportableError(ValueError):
    """A value that not every program on its way could hold."""


def portable(value: Any) -> Any:
    """`value` itself, when every program on its way can hold it.

    Raises:
        UnportableError: it cannot travel as JSON; says why.
    """
    if problem := unportable(value):
        raise UnportableError(problem)
    return value


def _not_finite(value: Any) -> bool:
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            left += item.values()
        elif isinstance(item, (list, tuple)):
            left += item
        elif isinstance(item, float) and not math.isfinite(item):
            return True
    return False


def deeper_than(value: Any, levels: int) -> bool:
    """Whether lists and objects of `value` are nested in more than `levels` levels."""
    current = [value]
    for _ in range(levels):
        below: list[Any] = []
        for item in current:
            if isinstance(item, dict):
                below += [child for child in item.values() if isinstance(child, (dict, list, tuple))]
            elif isinstance(item, (list, tuple)):
                below += [child for child in item if isinstance(child, (dict, list, tuple))]
        if not below:
            return False
        current = below
    return True
