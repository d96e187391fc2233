"""How near a tool is to a part of a question: rare words count more, meaning helps where words differ."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.agent.planner.language.lexicon import MEASURING, alike, split, terms
from workbench.agent.planner.planner_data import weights
from workbench.agent.planner.tools.tool_profile import ToolProfile
from workbench.embeddings import Embeddings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def parts(shape: ToolProfile) -> dict[str, tuple[str, ...]]:
    """The words of a tool by where they stand."""
    tool = shape.tool
    return {
        "name": (*shape.nouns, *terms(tool.name)),
        "server": terms(tool.server),
        "title": terms(tool.title),
        "description": terms(tool.description[:600]),
        "returns": tuple(dict.fromkeys(t for key in shape.returns for t in terms(key))),
        "parameters": tuple(
            dict.fromkeys(
                t
                for p in shape.parameters
                for t in (*p.terms, *(x for c in p.choices for x in terms(str(c))), *terms(p.description[:120]))
            )
        ),
    }


class Relevance:
    """Scores one catalogue of tools against texts. Build once per turn; the parts that cost are cached."""

    def __init__(self, shapes: Sequence[ToolProfile]) -> None:
        weight = weights().relevance
        self._worth = (
            ("name", weight.name),
            ("server", weight.server),
            ("title", weight.title),
            ("description", weight.description),
            ("returns", weight.returns),
            ("parameters", weight.parameters),
        )
        self._shapes = shapes
        self._parts = [parts(s) for s in shapes]
        seen: Counter[str] = Counter()
        for p in self._parts:
            seen.update({t for words in p.values() for t in words})
        self._rarity = {t: math.log(1 + len(shapes) / n) for t, n in seen.items()}
        # a word that no tool has says little about which tool is meant: it may be a thing to look for
        self._new = weight.unknown_word * math.log(1 + max(len(shapes), 1))

    def scores(self, words: Sequence[str], text: str) -> list[float]:
        """One score from 0 to about 1 per tool.

        Args:
            words: the meaningful words of the part, as written.
            text: the part as a person wrote it, for the embedding.
        """
        lexical = [self._words(words, p) for p in self._parts]
        near = meaning(text, tuple(_sentence(s) for s in self._shapes)) if text.strip() else []
        if not near:
            return lexical
        share = weights().relevance.meaning
        return [(1 - share) * w + share * max(0.0, m) for w, m in zip(lexical, near, strict=True)]

    def _words(self, words: Sequence[str], tool: dict[str, tuple[str, ...]]) -> float:
        telling = [w for w in words if w not in MEASURING and not w.isdigit()] or list(words)
        got = wanted = 0.0
        for word in telling:
            weight = min(self._rarity.get(t, self._new) for t in (terms(word) or (word,)))
            wanted += weight
            got += weight * max(
                (w * max((alike(word, t) for t in tool[where]), default=0.0) for where, w in self._worth), default=0.0
            )
        return got / wanted if wanted else 0.0


def _sentence(shape: ToolProfile) -> str:
    tool = shape.tool
    name = " ".join(split(tool.name))
    return f"{tool.server} {name}. {tool.title}. {tool.description[:300]}"


@functools.lru_cache(maxsize=8)
def _embedded(texts: tuple[str, ...]) -> NDArray[np.float32]:
    return Embeddings().embed(list(texts))


def meaning(text: str, others: tuple[str, ...]) -> list[float]:
    """Cosine of `text` to each of `others` by static embeddings; deterministic, no download.

    Raises:
        UnreachableError: the embeddings are not installed.
    """
    if not others:
        return []
    wanted = Embeddings().embed([text])[0]
    return [float(x) for x in _embedded(others) @ wanted]
