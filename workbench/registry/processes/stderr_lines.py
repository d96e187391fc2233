"""Which lines of a server's standard error say why it failed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

MAX_LINES: Final = 8
MAX_EARLIER_LINES: Final = 4
RECENT_S: Final = 5.0
"""Seconds before the end of a process in which what it writes is taken to be about its end."""
HEAD: Final = 300
"""Characters of a line that decide what it is."""

_ANSI: Final = re.compile(r"\x1b(?:\[[0-9;:?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

_NOISE: Final = re.compile(
    r"""
      \s*$
    | \s*(?:npm|pnpm|yarn)\s+(?:warn|notice|info|http|timing|verb)\b   # and so on: advertisements of new versions
    | >\ \S+@\d\S*\ \S+\s*$   # the script that npm runs
    | \s*npm\s+(?:err!|error)\s*$
    | .*\b(?:A\ complete\ log\ of\ this\ run\ can\ be\ found\ in|-debug-\d*\.log|To\ update,?\ run)
    | \s+at\s+\S.*[:)]\d*\)?\s*$ | \s+at\s+(?:async\s+)?[\w.$<>\[\]/]+\s*\(  # frames of JavaScript, Java, .NET
    | \s+at\s+(?:file:|node:|/|[A-Z]:\\)
    | \s*\.\.\.\s+\d+\s+(?:more|common\ frames)
    | \s*File\ ".*",\ line\ \d+ | Traceback\ \(most\ recent\ call\ last\):  # of Python
    | [\^~|\s]+$
    | During\ handling\ of\ the\ above | The\ above\ exception\ was\ the\ direct
    | (?:node:|file:)\S*:\d+(?::\d+)?\s*$ | /\S+:\d+\s*$ | Node\.js\ v\d
    | \s*\d+:\s+(?:0x[0-9a-f]+\s+-\s+)?[\w<][\w<>$@.\ &*{}']*::\S+\s*$
    | stack\ backtrace: | note:\ run\ with\ `RUST_BACKTRACE
    | goroutine\ \d+\ \[ | \t/\S+:\d+ | \s*created\ by\ \S+
    | [-=_*\#~.\u2500-\u257f\s]{3,}$  # rulers
    | \s*[{}()\[\];,]+\s*$
    """,
    re.X | re.I,
)
_PROGRESS: Final = re.compile(r"\d{1,3}(?:\.\d+)?\s?%|[\u2580-\u259f\u2800-\u28ff]|\u2501{3}|[#=.]{8}")
_ERROR: Final = re.compile(
    r"\b(?:\w*(?:Error|Exception)|error|fatal|panic(?:ked)?|critical|fail(?:ed|ure|s)?|cannot|can't|could\ not|unable"
    r"|denied|not\ found|no\ such|missing|required|must\ be|invalid|refused|unknown|unrecognized|unsupported|usage"
    r"|segmentation\ fault|abort(?:ed)?|killed|out\ of\ memory|E[A-Z]{4,12})\b",
    re.I | re.X,
)


def clean_line(line: str) -> str:
    """A line as a terminal would show it in the end: without colours, and without what was written over."""
    line = _ANSI.sub("", line).rstrip("\r\n")
    if "\r" in line:
        line = next((part for part in reversed(line.split("\r")) if part.strip()), "")
    return _CONTROL.sub("", line)


def tells_of_error(line: str) -> bool:
    """Whether a clean line says what is wrong."""
    return _ERROR.search(line[:HEAD]) is not None and _NOISE.match(line[:HEAD]) is None


def useful_lines(lines: Iterable[str], limit: int = MAX_LINES) -> list[str]:
    """Of clean lines those that are worth reading, at most `limit`, in their order.

    Blank lines, stack frames, progress bars and the noise of package managers are left out. When there is still too
    much, lines that tell of an error come first, the last ones before earlier ones. When nothing is left, the last
    lines are given as they are.
    """
    lines = [line for line in lines if line.strip()]
    kept = _without_source(lines)
    if not kept:
        return lines[-limit:]
    kept = [line for n, line in enumerate(kept) if line not in kept[n + 1 :]] if len(kept) < 512 else kept
    if len(kept) <= limit:
        return kept
    errors = [n for n, line in enumerate(kept) if _ERROR.search(line[:HEAD])][-limit:]
    others = [n for n in range(len(kept)) if n not in errors]
    chosen = sorted([*errors, *others[len(others) - (limit - len(errors)) :]])
    return [kept[n] for n in chosen]


def recent_and_earlier(lines: Sequence[tuple[float, str]], now: float, source: str = "standard error") -> list[str]:
    """Of dated clean lines those that are worth reading; what was written long before stands under a heading that says
    so, because it need not be the reason of what happens now.

    Args:
        lines: when each was written, in seconds of some clock, and the line; in their order.
        now: by the same clock.
        source: what they were written to.
    """
    recent = useful_lines(line for when, line in lines if now - when <= RECENT_S)
    earlier = [(when, line) for when, line in lines if now - when > RECENT_S and line.strip()]
    if not earlier or any(map(tells_of_error, recent)):
        return recent
    kept = useful_lines((line for _, line in earlier), MAX_EARLIER_LINES)
    newest = max((when for when, line in earlier if line in kept), default=earlier[-1][0])
    return [*recent, f"(Earlier, {_how_long(now - newest)} before, it wrote to its {source}:)", *kept]


def _how_long(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _without_source(lines: list[str]) -> list[str]:
    """Without noise, and without the line of source code that follows the frame of a traceback."""
    kept = []
    frame = False
    for line in lines:
        head = line[:HEAD]
        noise = _NOISE.match(head) is not None or (_PROGRESS.search(head) is not None and not _ERROR.search(head))
        code = frame and line.startswith("    ")
        frame = line.lstrip().startswith('File "') or (noise and frame and code)
        if not noise and not code:
            kept.append(line)
    return kept
