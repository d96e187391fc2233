"""Readable, stable ids for servers, whatever script their names are written in."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from typing import Final

from workbench.display_text import hidden_character
from workbench.events import digest
from workbench.registry.definitions.name_checks import SERVER_ID, confusable, reserved_ids

MAX_LENGTH: Final = 40
"""Characters of an id before its suffix; the rest of a longer name goes into a hash."""

MAX_SERVER_ID: Final = 48
"""Longest id, as `SERVER_ID` has it."""

_SYLLABLE = re.compile(
    r"(?:HANGUL SYLLABLE|HIRAGANA LETTER(?: SMALL)?|KATAKANA LETTER(?: SMALL)?) ([A-Z]+)|KATAKANA-HIRAGANA PROLONGED.*"
)
"""Of what Unicode calls a character the sound, where the name says it."""

_LATIN: Final = {
    # letters that Unicode does not take apart into a Latin letter and a mark
    "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ı": "i", "ħ": "h", "ŋ": "ng",
    # Cyrillic
    "а": "a", "б": "b", "в": "v", "г": "g", "ґ": "g", "д": "d", "е": "e", "є": "ie", "ж": "zh", "з": "z", "и": "i",
    "і": "i", "ї": "i", "й": "i", "к": "k", "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r", "с": "s",
    "т": "t", "у": "u", "ф": "f", "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ъ": "", "ы": "y", "ь": "",
    "э": "e", "ю": "iu", "я": "ia", "ё": "e", "ј": "j", "љ": "lj", "њ": "nj", "ћ": "c", "ђ": "d", "џ": "dz", "ў": "u",
    # Greek
    "α": "a", "β": "v", "γ": "g", "δ": "d", "ε": "e", "ζ": "z", "η": "i", "θ": "th", "ι": "i", "κ": "k", "λ": "l",
    "μ": "m", "ν": "n", "ξ": "x", "ο": "o", "π": "p", "ρ": "r", "σ": "s", "ς": "s", "τ": "t", "υ": "y", "φ": "f",
    "χ": "ch", "ψ": "ps", "ω": "o",
}  # fmt: skip


def readable_id(name: str, taken: Collection[str]) -> str:
    """The id of a server that its configuration calls `name`: ASCII, the same every time, and free.

    Accents go, Cyrillic, Greek, kana and Hangul are transliterated, other punctuation becomes a hyphen. What has no
    Latin form is stood for by a hash of the whole name: a Chinese name is `server-` and eight digits. A name that is
    taken, or can be taken for one that is, gets the suffix `-2`, `-3`, ….

    Args:
        name: as it is configured.
        taken: ids that exist already.
    """
    text, lost = _latin(name)
    id = re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-_")
    hashed = digest(name.encode("utf-8", "replace").decode())[:8]
    if not id:
        id = f"server-{hashed}"
    elif lost or len(id) > MAX_SERVER_ID:
        # of a long name, such as an address or a path, the end says most
        id = f"{id[-(MAX_LENGTH - 9) :].partition('-')[2].strip('-_') or id[: MAX_LENGTH - 9]}-{hashed}"
    return _free(id, (*taken, *reserved_ids()))


def _free(id: str, taken: Collection[str]) -> str:
    number, found = 1, id
    while confusable(found, taken) or not SERVER_ID.fullmatch(found):
        number += 1
        found = f"{id[:MAX_LENGTH].strip('-_')}-{number}"
    return found


def _latin(name: str) -> tuple[str, bool]:
    """`name` in Latin letters, and whether some of it has no such form."""
    letters: list[str] = []
    lost = False
    for composed in unicodedata.normalize("NFKC", name):
        if syllable := _SYLLABLE.fullmatch(unicodedata.name(composed, "")):
            letters.append((syllable[1] or "").lower())
            continue
        for char in unicodedata.normalize("NFKD", composed):
            if char.isascii():
                letters.append(char)
            elif char.lower() in _LATIN:
                latin = _LATIN[char.lower()]
                letters.append(latin.capitalize() if char.isupper() else latin)
            elif char.isalnum() and not hidden_character(char):
                letters.append("-")
                lost = True
    return "".join(letters), lost
