"""The part of a section that is worth quoting: the sentences with most of the words that were asked for."""

from __future__ import annotations

import re

MARK, END = "\ue000", "\ue001"
"""Put around each word that fits; characters that no font gives a meaning."""
MAX_PASSAGE_LENGTH = 500
"""Characters of a quotation."""


def passage(marked: str, most: int = MAX_PASSAGE_LENGTH) -> str:
    """A piece of the text, word for word, with the best sentences and what stands around them.

    Args:
        marked: the text, with `MARK` and `END` around each word that fits.
        most: most characters.
    """
    sentences = _sentences(marked)
    if not sentences:
        return ""
    lengths = [len(_plain(marked[a:b])) for a, b in sentences]
    found = [{w.lower() for w in re.findall(f"{MARK}(.*?){END}", marked[a:b])} for a, b in sentences]
    first, last, words = 0, 0, -1
    for start in range(len(sentences)):
        seen: set[str] = set()
        size = 0
        for end in range(start, len(sentences)):
            size += lengths[end] + (end > start)
            if size > most and end > start:
                break
            seen |= found[end]
            # the shortest run with most of the words, and of those the first
            if len(seen) > words or (len(seen) == words and end - start < last - first):
                first, last, words = start, end, len(seen)
    first, last = _widened(marked, sentences, first, last, most)
    text = marked[sentences[first][0] : sentences[last][1]]
    return _plain(text).strip() if len(_plain(text)) <= most else _cut(text, most)


def _sentences(marked: str) -> list[tuple[int, int]]:
    """Begin and end of each sentence or line; headings are left out, for they are told apart."""
    spans = []
    for line in re.finditer(r"[^\n]+", marked):
        if _plain(line.group()).lstrip().startswith("#"):
            continue
        begin = line.start()
        for stop in re.finditer(rf"[.!?]{END}?[\"')\]]*\s+", line.group()):
            spans.append((begin, line.start() + stop.end()))
            begin = line.start() + stop.end()
        spans.append((begin, line.end()))
    return [(a, b) for a, b in spans if marked[a:b].strip()]


def _widened(marked: str, sentences: list[tuple[int, int]], first: int, last: int, most: int) -> tuple[int, int]:
    """What follows explains, and what stands before introduces: both as far as there is room."""

    def fits(a: int, b: int) -> bool:
        return len(_plain(marked[sentences[a][0] : sentences[b][1]])) <= most

    while last + 1 < len(sentences) and fits(first, last + 1):
        last += 1
    while first > 0 and fits(first - 1, last):
        first -= 1
    return first, last


def _cut(text: str, most: int) -> str:
    """A part of a long sentence around the first word that fits."""
    at = max(0, text.find(MARK))
    plain, before = _plain(text).strip(), len(_plain(text[:at]))
    begin = max(0, min(before - most // 3, len(plain) - most + 2))
    end = min(len(plain), begin + most - 2)
    return ("…" if begin else "") + plain[begin:end].strip() + ("…" if end < len(plain) else "")


def _plain(marked: str) -> str:
    return marked.replace(MARK, "").replace(END, "")
