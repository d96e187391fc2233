"""Values of settings: how text becomes one, and what it may be.

Every setting of `config.Settings` that is no switch and no choice has one check.

A check knows nothing of the setting it belongs to: `config` adds the name and the source to what a check expects.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final, Literal, Protocol, get_args, get_origin
from urllib.parse import urlsplit

MAX_SECONDS: Final = 31_536_000.0
"""A year: longer than anything is waited for."""
MAX_COUNT: Final = (1 << 31) - 1
MAX_BYTES: Final = 1 << 50
MAX_TEXT: Final = 4096
"""Characters of a setting that is text."""

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|(?i:javascript|vbscript|data|blob|file|about):")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62}))*\.?")
_AUTHORITY_PORT: Final = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>\d{1,5}))?")
_SECRET: Final = re.compile(r"secret:|.*\$\{secret:", re.DOTALL)


class ValueCheck(Protocol):
    """Whether a value can be meant."""

    @property
    def expected(self) -> str:
        """What a good value is, as the end of the sentence "Expected …"."""
        ...

    def accepts(self, value: Any) -> bool:
        """Whether `value`, already of the type of the setting, is one."""
        ...


@dataclass(frozen=True)
class NumberRange:
    """A finite number between bounds.

    Args:
        least: smallest value.
        most: largest value.
        above: whether `least` itself is refused.
    """

    least: float
    most: float
    above: bool = False

    @property
    def expected(self) -> str:
        bound = f"{self.most:,.0f}"
        if self.above:
            return f"a number above {'zero' if not self.least else self.least}, at most {bound}"
        return f"a number from {self.least:g} to {bound}"

    def accepts(self, value: Any) -> bool:
        return (
            math.isfinite(value) and (value > self.least if self.above else value >= self.least) and value <= self.most
        )


SECONDS: Final = NumberRange(0, MAX_SECONDS, above=True)
COUNT: Final = NumberRange(0, MAX_COUNT, above=True)
BYTES: Final = NumberRange(0, MAX_BYTES, above=True)


@dataclass(frozen=True)
class MatchingText:
    """A text for which a predicate holds.

    Args:
        expected: what it is, in words.
        test: the predicate.
        optional: whether the text may be empty.
        reference: whether a reference to a secret may stand in its place, or in it.
    """

    expected: str
    test: Callable[[str], bool]
    optional: bool = False
    reference: bool = False

    def accepts(self, value: Any) -> bool:
        text = str(value)
        if not text:
            return self.optional
        if len(text) > MAX_TEXT or not text.isprintable() or text != text.strip():
            return False
        return (self.reference and _SECRET.match(text) is not None) or self.test(text)


@dataclass(frozen=True)
class ListOf:
    """A list, every member of which passes a check.

    Args:
        member: the check.
        least: fewest members.
    """

    member: ValueCheck
    least: int = 0

    @property
    def expected(self) -> str:
        return f"a list of {'at least one of ' if self.least else ''}this kind: {self.member.expected}"

    def accepts(self, value: Any) -> bool:
        return len(value) >= self.least and all(self.member.accepts(member) for member in value)


@dataclass(frozen=True)
class NumbersByName:
    """A table of numbers by name.

    Args:
        number: the check of each number.
    """

    number: NumberRange

    @property
    def expected(self) -> str:
        return f"name=number, each {self.number.expected}"

    def accepts(self, value: Any) -> bool:
        items: Mapping[str, float] = value
        return all(
            name.strip() and name.isprintable() and self.number.accepts(number) for name, number in items.items()
        )


class FilePath:
    """A path on this machine, or none."""

    expected = "a path on this machine without control characters, no URL"

    def accepts(self, value: Any) -> bool:
        if value is None:
            return True
        text = str(value)
        return not _CONTROL.search(text) and len(text) <= MAX_TEXT and not _SCHEME.match(text)


PATH: Final = FilePath()


def one_of(*choices: str) -> MatchingText:
    """One of some words."""
    return MatchingText("one of " + ", ".join(choices), choices.__contains__)


def line_of(expected: str = "one line of plain text", pattern: str = ".+", *, optional: bool = False) -> MatchingText:
    """A line of text that a pattern describes."""
    found = re.compile(pattern)
    return MatchingText(expected, lambda value: found.fullmatch(value) is not None, optional)


def port_number(*, optional: bool = False) -> MatchingText:
    """A port, or `auto`."""
    return MatchingText("a number from 1 to 65535, or 'auto'", lambda v: v == "auto" or is_port(v), optional)


def url_of(*schemes: str, optional: bool = True, example: str = "", reference: bool = False) -> MatchingText:
    """An absolute URL of one of these schemes, with a host unless the scheme is `unix`."""
    words = f"a URL that begins with {' or '.join(f'{s}://' for s in schemes)}" + (
        f", e.g. {example}" if example else ""
    )
    return MatchingText(words, lambda value: is_url(value, schemes), optional, reference)


def origin_of(*, optional: bool = True) -> MatchingText:
    """Scheme, host and port of an http(s) URL, and nothing else."""
    words = "an origin without a path, like https://tools.example"
    return MatchingText(words, lambda value: is_origin(value, ("http", "https")), optional)


def folder_or_url(*schemes: str, expected: str) -> MatchingText:
    """A folder on this machine, or a URL of one of these schemes."""
    return MatchingText(expected, lambda v: is_url(v, schemes) or not _SCHEME.match(v), optional=True)


def is_port(value: str) -> bool:
    """Whether the text is a port that can be bound or dialled."""
    return value.isascii() and value.isdigit() and len(value) <= 5 and 0 < int(value) < 65536


def port_range(value: str) -> range | None:
    """The ports that `443` or `1024-65535` stands for; None when it is neither."""
    first, dash, last = value.partition("-")
    last = last if dash else first
    if not is_port(first.strip()) or not is_port(last.strip()) or int(first) > int(last):
        return None
    return range(int(first), int(last) + 1)


def port_ranges(values: Iterable[str]) -> tuple[range, ...]:
    """What `port_range` says of each that is one."""
    return tuple(found for value in values if (found := port_range(value)) is not None)


def is_host(value: str) -> bool:
    """Whether the text is a host name or an IP address, the latter with or without brackets."""
    try:
        ip_address(value[1:-1] if value.startswith("[") and value.endswith("]") else value)
    except ValueError:
        last = value.rstrip(".").rpartition(".")[2]
        return len(value) <= 253 and _NAME.fullmatch(value) is not None and not last.isdigit()
    return True


def is_authority(value: str) -> bool:
    """Whether the text is a host with or without a port."""
    if is_host(value):
        return True
    found = _AUTHORITY_PORT.fullmatch(value)
    return found is not None and is_host(found["host"]) and (found["port"] is None or is_port(found["port"]))


def is_network(value: str) -> bool:
    """Whether the text is an IP address or a network."""
    try:
        ip_network(value, strict=False)
    except ValueError:
        return False
    return True


def is_url(value: str, schemes: tuple[str, ...]) -> bool:
    """Whether the text is an absolute URL of one of these schemes."""
    if any(character in value for character in ' \\<>"`') or not value.isascii():
        return False
    try:
        parts = urlsplit(value)
        bound = parts.port
    except ValueError:
        return False
    if parts.scheme not in schemes or not value[len(parts.scheme) :].startswith("://") or bound == 0:
        return False
    if parts.scheme == "unix":
        return parts.path.startswith("/") and len(parts.path) > 1
    return bool(parts.hostname) and is_host(str(parts.hostname))


def is_origin(value: str, schemes: tuple[str, ...]) -> bool:
    """Whether the text is an origin: no path beyond one slash, no user, no query, no fragment."""
    if not is_url(value, schemes):
        return False
    parts = urlsplit(value)
    return parts.path in ("", "/") and "@" not in parts.netloc and not any(mark in value for mark in "?#")


def is_browser(value: str) -> bool:
    """Whether a browser could send the text as an `Origin` that is somebody's: http(s), or a scheme of its own."""
    scheme, separator, rest = value.partition("://")
    if scheme.lower() in ("http", "https"):
        return is_origin(value.lower(), ("http", "https"))
    own = re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme.lower()) is not None
    local = scheme.lower() in ("javascript", "data", "file", "blob", "about", "vbscript", "ws", "wss", "ftp")
    return bool(separator) and own and not local and re.fullmatch(r"[A-Za-z0-9._~-]+/?", rest) is not None


HOST: Final = MatchingText("a host name or an IP address, without scheme and port", lambda v: is_host(v))
HOST_PORT: Final = MatchingText("a host name or an IP address, with a port if need be", lambda v: is_authority(v))
BROWSER_ORIGIN: Final = MatchingText(
    "an origin like https://app.example, or that of an extension, e.g. vscode-webview://id", lambda v: is_browser(v)
)
NETWORK: Final = MatchingText("an IP address or a network like 10.0.0.0/8", lambda v: is_network(v))
POSTGRES: Final = MatchingText(
    "a URL like postgresql://user@host/database",
    # libpq reads more than urlsplit does: several hosts, sockets, no host at all
    lambda v: v.startswith(("postgresql://", "postgres://")) and " " not in v,
    optional=True,
    reference=True,
)
REDIS: Final = url_of("redis", "rediss", "unix", example="redis://cache:6379/0", reference=True)
PORTS: Final = MatchingText("a port or a range of ports like 1024-65535", lambda v: port_range(v) is not None)


# --- from text and TOML ------------------------------------------------------


def converted(kind: Any, value: Any) -> Any:
    """`value` as the type of a setting; text, as the environment has it, is parsed.

    Raises:
        ValueError, TypeError: it cannot be that; the message is what was expected.
    """
    if get_origin(kind) is tuple:
        return _members(get_args(kind)[0], value)
    if get_origin(kind) is Mapping:
        return _numbers(get_args(kind)[1], value)
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ValueError("one of " + ", ".join(map(str, get_args(kind))))
        return value
    if kind is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("1", "true", "yes", "on"):
            return True
        if str(value).lower() in ("0", "false", "no", "off"):
            return False
        raise ValueError("true or false")
    if kind is int or kind is float:
        return _number(kind, value)
    if kind is str:
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise ValueError("a text")
        return str(value)
    return _path(value)


def _members(kind: Any, value: Any) -> tuple[Any, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, (list, tuple)):
        raise ValueError("a list, or its members separated by commas")
    return tuple(converted(kind, part) for part in value)


def _numbers(kind: Any, value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        pairs = [part.rpartition("=") for part in value.split(",") if part.strip()]
        if any(not separator for _, separator, _ in pairs):
            raise ValueError("name=number, several separated by commas")
        value = {name.strip(): number.strip() for name, _, number in pairs}
    if not isinstance(value, Mapping):
        raise ValueError("a table of numbers by name")
    return {str(name): converted(kind, number) for name, number in value.items()}


def _number(kind: type[int] | type[float], value: Any) -> int | float:
    expected = "a whole number" if kind is int else "a number"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(expected)
    try:
        number = kind(value)
        whole = kind is float or not isinstance(value, float) or number == value
    except (ValueError, OverflowError):
        raise ValueError(expected) from None
    if not whole:
        raise ValueError(expected)
    return number


def _path(value: Any) -> Path | None:
    if not value:
        return None
    if not isinstance(value, (str, Path)):
        raise ValueError("a path")
    try:
        return Path(value).expanduser()
    except RuntimeError:  # `~somebody` who has no account
        return Path(value)
