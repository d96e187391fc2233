"""From the bytes of a configuration file to values: JSON with its usual liberties, TOML, or YAML."""

from __future__ import annotations

import codecs
import math
import re
import tomllib
from pathlib import Path
from typing import Any, Final

from workbench.events import MisuseError
from workbench.json_values import MAX_DEPTH
from workbench.registry.configuration import jsonc

MAX_BYTES: Final = 4 << 20
"""Largest file that is read. The user's own file of Claude Code also holds histories, so that it grows."""
MAX_VALUES: Final = 200_000
"""Most values of one file. References of YAML can make a few lines stand for billions."""

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_document(path: Path) -> jsonc.JsoncDocument:
    """The values of the file at `path`.

    Raises:
        MisuseError: it cannot be read or is in none of the formats; names the line and the column.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise MisuseError(
                f"{path} is larger than {MAX_BYTES} bytes.", hint="Is it really a configuration of servers?"
            )
        data = path.read_bytes()
    except OSError as e:
        raise MisuseError(f"{path} cannot be read: {e.strerror or e}.", hint="Check the path.") from e
    return parse_document(data, path)


def parse_document(data: bytes, path: Path) -> jsonc.JsoncDocument:
    """As `read_document`, of what is in a file. Its ending decides between the formats, else what it begins with."""
    text = _decoded(data, path)
    suffix = path.suffix.lower()
    if suffix == ".toml":
        return _toml(text, path)
    if suffix in (".yaml", ".yml"):
        return _yaml(text, path)
    try:
        return jsonc.parse(text)
    except jsonc.MalformedJsonError as e:
        if suffix not in (".json", ".jsonc", ".json5") and (other := _other_format(text, path)) is not None:
            return other
        raise MisuseError(
            f"{path}, line {e.line}, column {e.column}: {e}.", hint="Expected JSON; mend the file at that place."
        ) from e


def _decoded(data: bytes, path: Path) -> str:
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        column = e.start - data.rfind(b"\n", 0, e.start)
        raise MisuseError(
            f"{path}, line {line}, column {column}: it is not UTF-8 text: {e.reason}.", hint="Save the file as UTF-8."
        ) from e


def _other_format(text: str, path: Path) -> jsonc.JsoncDocument | None:
    """TOML or YAML in a file whose name does not say so."""
    for read in (_toml, _yaml):
        try:
            document = read(text, path)
        except MisuseError:
            continue
        if isinstance(document.value, dict):
            return document
    return None


def _toml(text: str, path: Path) -> jsonc.JsoncDocument:
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        found = re.search(r"^(.*) \(at line (\d+), column (\d+)\)$", str(e))
        what, place = (found[1], f", line {found[2]}, column {found[3]}") if found else (str(e), "")
        raise MisuseError(f"{path}{place}: {what}.", hint="Expected TOML; mend the file at that place.") from e
    except RecursionError as e:
        raise MisuseError(f"{path} is nested too deeply.", hint="Expected TOML with a table for each server.") from e
    return jsonc.JsoncDocument(_plain(value, path), {})


def _yaml(text: str, path: Path) -> jsonc.JsoncDocument:
    import yaml  # type: ignore[import-untyped]

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        what = getattr(e, "problem", None) or str(e)
        raise MisuseError(f"{path}{place}: {what}.", hint="Expected YAML; mend the file at that place.") from e
    except (ValueError, RecursionError, TypeError, AttributeError) as e:  # of impossible dates, numbers, keys
        raise MisuseError(f"{path} is not YAML that can be read: {e}.", hint="Mend the file.") from e
    return jsonc.JsoncDocument(_plain(value, path), {})


def _plain(value: Any, path: Path) -> Any:
    """`value` in the types of JSON: what only TOML and YAML know (dates, sets, keys that are numbers) becomes text."""
    left = MAX_VALUES

    def plain(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > MAX_DEPTH:
            raise MisuseError(
                f"{path} holds more than {MAX_VALUES} values, or is nested deeper than {MAX_DEPTH} levels.",
                hint="Is it really a configuration of servers?",
            )
        if isinstance(value, dict):
            return {_key(key): plain(inner, depth + 1) for key, inner in value.items()}
        if isinstance(value, list | tuple | set):
            return [plain(inner, depth + 1) for inner in value]
        if value is None or isinstance(value, str | bool | int | float):
            return value
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    return plain(value, 0)


def _key(key: Any) -> str:
    if isinstance(key, bool):  # YAML 1.1 reads the names `on` and `no` so
        return "true" if key else "false"
    return str(int(key)) if isinstance(key, float) and math.isfinite(key) and key.is_integer() else str(key)
