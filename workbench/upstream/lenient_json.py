"""JSON as servers in the field write it: read where its meaning is certain, with a note of what was repaired.

Strict JSON (RFC 8259) never comes here: `messages.decode` reads it first, and much faster.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from typing import Any, Final

from workbench.events import JSON
from workbench.json_values import joined_surrogates, replaced_surrogates
from workbench.secrets import hide

REPAIRED: Final = "workbench/repaired"
"""Key in `_meta` of a result: what was repaired in the message that brought it, as sentences."""

MAX_VALUES: Final = 1024
"""Values on one line that are read."""

NOT_A_NUMBER: Final = "NaN and infinite numbers, which JSON does not have, were replaced by null."
TOO_LARGE: Final = "A number beyond the range of a double was replaced by null."
TOO_LONG: Final = "An integer of more digits than can be read was kept as text."
NOT_UTF8: Final = "Bytes that are no UTF-8 were read as Windows-1252."
LONE_SURROGATE: Final = "Halves of characters (lone surrogates) were replaced by U+FFFD."

_SPACE: Final = re.compile(r"[ \t\r\n\ufeff\0]*")
_WINDOWS_1252: Final = {
    0xDC00 + byte: bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(0x80, 0x100)
}
"""What `surrogateescape` makes of a byte, and what the byte means."""


def decode_text(data: bytes) -> tuple[str, list[str]]:
    """The text in `data`, whatever its encoding, and what had to be assumed."""
    if b"\0" in data and (text := _utf16(data)):
        return text, []
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode(), []
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("utf-8", "surrogatepass"), []  # of languages whose strings are UTF-16
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogateescape").translate(_WINDOWS_1252), [NOT_UTF8]


def decode_values(data: bytes) -> tuple[list[Any], str, list[str]]:
    """The JSON values that stand in `data` one after the other.

    Returns:
        The values, the text that follows them and is none, and what was repaired.

    Raises:
        RecursionError: a value is nested too deeply.
    """
    text, repairs = decode_text(data)
    text = hide(text)
    decoder = _decoder(repairs)
    values: list[Any] = []
    at = _skip(text, 0)
    while at < len(text) and len(values) < MAX_VALUES:
        try:
            value, end = decoder.raw_decode(text, at)
        except ValueError:
            break
        values.append(value)
        at = _skip(text, end)
    rest = text[at:]
    try:
        text.encode()
        escaped = "\\u" in text
    except UnicodeEncodeError:
        escaped = True
    if escaped:
        values = [_without_surrogates(value, repairs) for value in values]
    return values, rest, list(dict.fromkeys(repairs))


def note_repairs(message: Any, repairs: list[str]) -> Any:
    """`message` with `repairs` in the `_meta` of its result, so that whoever reads the result sees them."""
    result = message.get("result") if isinstance(message, dict) else None
    if not repairs or not isinstance(result, dict):
        return message
    meta = result.get("_meta")
    noted: JSON = {**(meta if isinstance(meta, dict) else {}), REPAIRED: repairs}
    return {**message, "result": {**result, "_meta": noted}}


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None  # it matches nothing at all, too
    return found.end()


def _utf16(data: bytes) -> str:
    """`data` as UTF-16, cut at line feeds as if it were ASCII; empty when it is not."""
    # The line feed of the line before leaves half of itself at the start, our own its other half at the end.
    for encoding, raw in (("utf-16-le", data.removeprefix(b"\0")), ("utf-16-be", data.removesuffix(b"\0"))):
        try:
            text = raw.decode(encoding).lstrip("\ufeff")
        except UnicodeDecodeError:
            continue
        if text.lstrip()[:1] in ("{", "["):
            return text
    return ""


def _decoder(repairs: list[str]) -> json.JSONDecoder:
    def constant(_: str) -> None:
        repairs.append(NOT_A_NUMBER)

    def number(digits: str) -> float | None:
        if math.isfinite(value := float(digits)):
            return value
        repairs.append(TOO_LARGE)
        return None

    def integer(digits: str) -> int | str:
        try:
            return int(digits)
        except ValueError:  # Python reads 4300 digits
            repairs.append(TOO_LONG)
            return digits

    return json.JSONDecoder(parse_constant=constant, parse_float=number, parse_int=integer, strict=False)


def _without_surrogates(value: Any, repairs: list[str]) -> Any:
    text = json.dumps(value, ensure_ascii=False)
    joined = joined_surrogates(text)
    whole = replaced_surrogates(joined)
    if whole != joined:
        repairs.append(LONE_SURROGATE)
    return value if whole == text else json.loads(whole)
