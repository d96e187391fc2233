"""Finding tools by words and by meaning.

Words are scored with BM25 (Robertson & Zaragoza 2009, §3.1) over name, title, description and parameters; meaning with
static embeddings. The two rankings are fused by reciprocal rank (Cormack, Clarke & Büttcher 2009), which needs no
common scale between them.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from workbench.embeddings import Embeddings
from workbench.events import Tool, UnreachableError
from workbench.word_forms import STOP_WORDS, pieces, singular

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Embeddings", "ToolIndex", "words"]

K1, B = 1.2, 0.6
FUSION = 10.0
"""The constant of reciprocal rank fusion. The published 60 is for lists of a thousand; here the first few count."""

SURER = 1.01
"""Weight of words against meaning: where they disagree entirely, a word that is there is surer than a likeness."""

DEPTH = 200
"""How far down each ranking takes part in the fusion."""

_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_STOP = STOP_WORDS | {"last"}


def words(text: str) -> list[str]:
    """`text` as search terms: split at case changes and punctuation, folded, singular, without empty words."""
    found = []
    for piece in pieces(unicodedata.normalize("NFKC", text)):
        word = piece.casefold()
        if _CJK.search(word):  # no spaces between words there: pairs of characters do well
            found += [word[n : n + 2] for n in range(max(1, len(word) - 1))]
        elif word not in _STOP:
            found.append(singular(word))
    return found


class _Entry:
    """What is kept of one tool, for as long as its definition stays."""

    __slots__ = ("terms", "text", "vector")

    def __init__(self, tool: Tool) -> None:
        properties = tool.input_schema.get("properties")
        parameters = _parameters(properties) if isinstance(properties, dict) else []
        about = f"{tool.title}. {tool.description}"
        self.terms = Counter(
            words(tool.name) * 3
            + words(tool.title) * 2
            + words(tool.server)
            + words(about)
            + words(" ".join(parameters))
        )
        name = " ".join(pieces(tool.name))
        # The first line says what a tool does; what follows is about arguments and caveats, and blurs the vector.
        self.text = f"{tool.server} {name}. {tool.title} {tool.description.strip().partition(chr(10))[0]}"[:300]
        self.vector: Any = None


def _parameters(properties: dict[str, Any]) -> list[str]:
    found = []
    for name, schema in properties.items():
        found.append(name)
        if isinstance(schema, dict) and isinstance(about := schema.get("description"), str):
            found.append(about[:200])
    return found


class ToolIndex:
    """An immutable index over a list of tools; `updated` makes the next one and reuses what has not changed."""

    def __init__(self, meaning: Embeddings | None = None) -> None:
        """
        Args:
            meaning: where vectors come from. Loaded when the first tools are indexed.
        """
        self.tools: Sequence[Tool] = ()
        self._meaning: Embeddings | None = Embeddings() if meaning is None else meaning
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._names: list[str] = []
        self._postings: dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]] = {}
        self._vectors: NDArray[np.float32] | None = None

    def updated(self, tools: Sequence[Tool]) -> ToolIndex:
        """An index over `tools`. Takes milliseconds per hundred new ones; run it in a thread."""
        new = ToolIndex.__new__(ToolIndex)
        new.tools = tools
        new._names = [tool.qualified for tool in tools]
        keys = [(name, tool.definition_hash) for name, tool in zip(new._names, tools, strict=True)]
        new._entries = {k: self._entries.get(k) or _Entry(t) for k, t in zip(keys, tools, strict=True)}
        entries = [new._entries[k] for k in keys]
        new._postings = _postings(entries)
        new._meaning, new._vectors = self._meaning, None
        if self._meaning is not None and entries:
            new._embed(entries)
        return new

    def search(self, query: str, limit: int = 20, among: Collection[str] | None = None) -> list[tuple[str, float]]:
        """Qualified names with scores up to 1, best first. 1 means first by words and first by meaning."""
        if not self._names or not query.strip() or limit < 1:
            return []
        import numpy as np

        allowed = None
        if among is not None:
            among = among if isinstance(among, set | frozenset | dict) else set(among)
            allowed = np.fromiter((name in among for name in self._names), dtype=bool, count=len(self._names))
        fused = np.zeros(len(self._names))
        rankings = [(SURER, self._by_words(query)), (1.0, self._by_meaning(query))]
        possible = sum(weight for weight, scores in rankings if scores is not None) / (FUSION + 1)
        for weight, scores in rankings:
            if scores is None:
                continue
            if allowed is not None:
                scores = np.where(allowed, scores, 0.0)
            best = _best(scores, DEPTH)
            fused[best] += weight / (FUSION + 1 + np.arange(len(best)))
        return [(self._names[n], min(1.0, float(fused[n] / possible))) for n in _best(fused, limit)]

    def _by_words(self, query: str) -> NDArray[np.float32]:
        import numpy as np

        scores = np.zeros(len(self._names), dtype=np.float32)
        for term in dict.fromkeys(words(query)):
            if (found := self._postings.get(term)) is not None:
                scores[found[0]] += found[1]
        return scores

    def _by_meaning(self, query: str) -> NDArray[np.float32] | None:
        if self._vectors is None or self._meaning is None:
            return None
        import numpy as np

        # Not `@`: a linear-algebra library would share this fraction of a millisecond out to threads and wait for them.
        scores: NDArray[np.float32] = np.einsum("ij,j->i", self._vectors, self._meaning.embed([query[:2_000]])[0])
        return scores

    def _embed(self, entries: list[_Entry]) -> None:
        import numpy as np

        assert self._meaning is not None
        missing = [e for e in entries if e.vector is None]
        try:
            for entry, vector in zip(missing, self._meaning.embed([e.text for e in missing]), strict=True):
                entry.vector = vector
        except UnreachableError as e:
            logging.getLogger(__name__).warning("tools are searched by words only: %s", e)
            self._meaning = None
            return
        self._vectors = np.stack([e.vector for e in entries])


def _best(scores: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Positions of the highest scores above zero, best first; equal ones in the order of the tools."""
    import numpy as np

    positive = np.flatnonzero(scores > 0)
    if len(positive) > count:
        threshold = np.partition(scores[positive], -count)[-count]
        positive = positive[scores[positive] >= threshold]
    order = np.argsort(-scores[positive], kind="stable")[:count]
    return positive[order]


def _postings(entries: Iterable[_Entry]) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Term → the tools that have it, and what each occurrence is worth."""
    import numpy as np

    by_term: dict[str, tuple[list[int], list[int]]] = {}
    lengths = []
    for n, entry in enumerate(entries):
        lengths.append(sum(entry.terms.values()))
        for term, count in entry.terms.items():
            where, counts = by_term.setdefault(term, ([], []))
            where.append(n)
            counts.append(count)
    if not lengths:
        return {}
    total = len(lengths)
    norm = K1 * (1 - B + B * np.array(lengths, dtype=np.float32) / max(1.0, float(np.mean(lengths))))
    found = {}
    for term, (where, counts) in by_term.items():
        idf = np.log1p((total - len(where) + 0.5) / (len(where) + 0.5))
        position = np.array(where, dtype=np.int64)
        frequency = np.array(counts, dtype=np.float32)
        found[term] = (position, (idf * frequency * (K1 + 1) / (frequency + norm[position])).astype(np.float32))
    return found
