"""Credentials in free text: the shapes that issuers gave their keys, and values that a text itself calls a password."""

from __future__ import annotations

import re

SECRET = "<SECRET>"
"""Stands where a credential stood. Not a typed token: nobody should join on secrets."""

_HINTS = (
    *(
        "mk_",
        "sk-",
        "sk_",
        "pk_",
        "rk_",
        "aiza",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "github_pat_",
        "glpat-",
        "xox",
    ),
    *("akia", "asia", "eyj", "npm_", "hf_", "whsec_", "sg.", "-----begin", "://", "bearer", "basic", "passw", "secret"),
    *("token", "api_key", "api-key", "api key", "apikey", "pwd", "authorization"),
)
_LONGEST_HINT = max(map(len, _HINTS))
PIECE = 128 << 10
"""Characters that are looked through at once."""

_SHAPES = re.compile(
    r"""
    -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
  | \beyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?              # JSON Web Token
  | \b(?:mk_[a-z0-9]{6,}_[\w-]{16,}|sk-[\w-]{16,}|(?:sk|pk|rk)_(?:live|test)_\w{10,}|AIza[\w-]{30,}|gh[pousr]_\w{20,}
      |github_pat_\w{20,}|glpat-[\w-]{16,}|xox[a-z]-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}|npm_\w{30,}|hf_\w{20,}
      |whsec_\w{16,}|SG\.[\w-]{16,}\.[\w-]{16,})
  | (?<=://)[^/\s:@]*:[^/\s@]+(?=@)                     # user:password@ in a URL
  | (?:(?<=[Bb]earer\ )|(?<=BEARER\ )|(?<=[Bb]asic\ )|(?<=BASIC\ ))(?=[\w.~+/-]*\d)[\w.~+/=-]{8,}
  | (?i:\b(?:password|passwd|pwd|secret|token|api[-_ ]?key)["']?\s*(?:[:=]|\bis\b)\s*)
    (?P<value>"[^"]*"|'[^']*'|[^\s,;&"'<][^\s,;&"']*)
    """,
    re.VERBOSE | re.DOTALL,
)


def hinted(text: str | bytes) -> bool:
    """Whether a text, or the JSON bytes of a whole document, may hold a credential. Cheap, and says yes too often."""
    # `in` looks through text several times faster than through bytes; all hints are ASCII, which Latin-1 keeps
    low = text.lower() if isinstance(text, str) else text.lower().decode("latin-1")
    if len(low) > PIECE:
        # in one piece every single hint would keep the interpreter from all other threads for milliseconds
        return any(_hinted(low[at : at + PIECE + _LONGEST_HINT]) for at in range(0, len(low), PIECE))
    return _hinted(low)


def _hinted(low: str) -> bool:
    for hint in _HINTS:  # noqa: SIM110 - a generator would double the cost, and this runs on every record
        if hint in low:
            return True
    return False


def without_credentials(text: str) -> tuple[str, int]:
    """The text with every credential replaced, and how many there were."""
    return _SHAPES.subn(_replaced, text)


def _replaced(match: re.Match[str]) -> str:
    value = match.group("value")
    if value is None:
        return SECRET
    return match.group()[: match.start("value") - match.start()] + SECRET
