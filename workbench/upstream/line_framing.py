"""From lines of a server's standard output to messages: tolerant of what stands between, before and inside of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from workbench.upstream.jsonrpc_messages import decode_strict
from workbench.upstream.lenient_json import decode_text, decode_values, note_repairs

MAX_EMBEDDED: Final = 64
"""Places in a line without JSON of its own at which a message is looked for."""

MAX_EMBEDDED_SCAN: Final = 4 << 20
"""Characters that are looked through for that in vain."""

LARGE: Final = 64 << 10
"""Bytes that are no strict JSON from which on they are looked through apart, so that nobody waits for that."""

MAX_INDENTED: Final = 16 << 20
"""Longest message over several lines, in bytes."""

_START: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:\[\s*)?(?:\{\s*(?:[\"}]|$)|\[\s*$)")
"""How a message can begin: an object with a name in quotes, alone or in a batch; the line may end anywhere before."""
_NO_MARKS: Final = bytes(set(range(256)) - set(b'{}[]"'))
"""All bytes but those that begin and end objects, arrays and strings."""
_ID: Final = re.compile(r'"id"\s*:\s*"?(\d{1,15})"?\s*[,}]')


def is_message(value: Any) -> bool:
    """Whether a JSON value is a JSON-RPC message rather than a line of a log. Not every server says `jsonrpc`."""
    if not isinstance(value, dict):
        return False
    if "jsonrpc" in value or ("id" in value and ("result" in value or "error" in value)):
        return True
    method = value.get("method")
    return isinstance(method, str) and ("/" in method[1:] or method == "ping")


class MessageReader:
    """Puts the messages together that a server writes as lines, or thinks it does.

    Understood beside one message on each line: messages over several lines (indented), several on one line, batches,
    text before and after a message, and everything that `lenient_json` reads. What is no message is given to `noise`.

    Args:
        max_bytes: longest message over several lines.
        noise: told each line that is no message.
        broken: told the id of a message that cannot be read, or None where it has none, and why.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        noise: Callable[[bytes], None],
        broken: Callable[[int | None, str], None],
    ) -> None:
        self._max_bytes = max_bytes
        self._noise = noise
        self._broken = broken
        self.deferred: list[tuple[bytes, str]] = []
        """What is too large to be looked through at once, to be given to `rescue`, which may be called in a thread."""
        self.pending = False
        """Whether a message has begun and not ended."""
        self._lines: list[bytes] = []
        self._size = 0
        self._depth = 0
        self._in_string = False

    def feed(self, line: bytes, *, hidden: bool = False) -> Sequence[Any]:
        """The messages that are complete with `line`; see also `deferred`.

        Args:
            line: without its line feed.
            hidden: whether secrets of ours are taken out of it already.
        """
        if self.pending and line[:1] not in b"{[":
            return self._continued(line) if line.strip() else []
        try:
            value = decode_strict(line, hidden=hidden)
        except ValueError:
            return self._unusual(line)
        if isinstance(value, dict) and "jsonrpc" in value and not self.pending:
            return (value,)
        found = [one for one in (value if isinstance(value, list) else (value,)) if is_message(one)]
        if not self.pending:
            if not found:
                self._noise(line)
            return found
        if found and line[:1] in b"{[":
            return [*self.give_up("another message follows before its end"), *found]
        return self._continued(line)  # a line of an indented message can be JSON of its own

    def give_up(self, why: str) -> list[Any]:
        """No more will come of the message that has begun. Returns what is whole within."""
        if not self.pending:
            return []
        text = b"\n".join(self._lines)
        self._lines, self._size, self.pending = [], 0, False
        return self._soon_rescued(text, why)

    def end(self, rest: bytes, why: str) -> list[Any]:
        """The output has ended with `rest`, a line without a line feed; `why` says for which reason."""
        found = [*self.feed(rest)]
        found += self.give_up(f"the output ended within it. {why}")
        while self.deferred:
            found += self.rescue(*self.deferred.pop(0))
        return found

    def _unusual(self, line: bytes) -> list[Any]:
        if not line.strip(b" \t\r\n\0"):
            return []
        if self.pending:
            return self._continued(line)
        if _START.match(line) and b"\0" not in line:
            self._depth, self._in_string = 0, False
            return self._continued(line)
        return self._soon_rescued(line, "")

    def _continued(self, line: bytes) -> list[Any]:
        self._measure(line)
        self._lines.append(line)
        self.pending = True
        self._size += len(line)
        if self._depth <= 0 and not self._in_string:
            return self.give_up("it is no JSON")
        if self._size > self._max_bytes:
            return self.give_up(f"it has more than {self._max_bytes:,} bytes")
        return []

    def _measure(self, line: bytes) -> None:
        """Follow the brackets outside of strings; a string may go on over lines although it must not."""
        if b"\\" in line:
            line = line.replace(b"\\\\", b"").replace(b'\\"', b"")
        # two quotes side by side change nothing for what is around them
        marks = line.translate(None, _NO_MARKS).replace(b'""', b"")
        parts = (b'"' + marks if self._in_string else marks).split(b'"')
        plain = b"".join(parts[::2])
        self._in_string = len(parts) % 2 == 0
        self._depth += plain.count(b"{") + plain.count(b"[") - plain.count(b"}") - plain.count(b"]")

    def _soon_rescued(self, data: bytes, why: str) -> list[Any]:
        if len(data) <= LARGE:
            return self.rescue(data, why)
        self.deferred.append((data, why))
        return []

    def rescue(self, data: bytes, why: str) -> list[Any]:
        """The messages somewhere in `data`; where there is none, it is noise, or a broken message."""
        found: list[Any] = []
        try:
            values, rest, repairs = decode_values(data)
        except RecursionError:
            values, rest, repairs, why = [], decode_text(data)[0], [], "it is nested too deeply"
        for value in values:
            found += [note_repairs(one, repairs) for one in (value if isinstance(value, list) else (value,))]
        found = [one for one in found if is_message(one)]
        embedded = _embedded(rest) if rest else []
        if not embedded and '"jsonrpc"' in rest and (response := _Response.of(rest)) is not None:
            self._broken(response.id, why or "it is no JSON")
        elif not found and not embedded:
            self._noise(data)
        return found + embedded


def _embedded(text: str) -> list[Any]:
    """Messages within other text: after a prompt, a progress bar, a word of a log."""
    found: list[Any] = []
    at = scanned = 0
    for _ in range(MAX_EMBEDDED):
        at = text.find('{"', at)
        if at < 0 or scanned > MAX_EMBEDDED_SCAN or text.find('"jsonrpc"', at) < 0:
            break
        scanned += len(text) - at
        try:
            value, end = json.JSONDecoder(strict=False).raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 2
            continue
        if is_message(value) and "jsonrpc" in value:
            found.append(value)
            at, scanned = end, 0
        else:
            at += 2
    return found


class _Response(NamedTuple):
    """What can be seen of a response that cannot be read."""

    id: int | None

    @classmethod
    def of(cls, text: str) -> _Response | None:
        """None when `text` was to be a request or a notification."""
        head = text[: text.find("{", text.find("{") + 1)]  # before anything nested
        if '"method"' in head:
            return None
        last = [*_ID.finditer(text[-200:])][-1:]  # some write the id at the end
        match = _ID.search(head) or (last[0] if last else None)
        return cls(int(match.group(1)) if match else None)
