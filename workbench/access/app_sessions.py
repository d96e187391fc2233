"""Who may use the app: links that sign in once, and the sessions of browsers that did.

Both live as files in the state folder, which only its owner can read: whoever can read it may issue a link. A file's
name is the SHA-256 of its token and its content is when it expires, so nothing there can be presented. To redeem a
link is to remove its file, which succeeds for one process alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from pathlib import Path

LINK_LIFETIME_S = 600.0
"""How long a link can be used."""

MAX_LINKS = 32
"""Links that wait to be used; a further one replaces the oldest."""

MAX_SESSIONS = 64
"""Browsers that are signed in at once; a further one replaces the oldest."""

MAX_TOKEN = 128
"""Longest token that is looked up, in characters."""


class AppSessions:
    """Issues, redeems and checks them.

    Args:
        home: the state folder.
        seconds: how long a session lasts, whether it is used or not.
    """

    def __init__(self, home: Path, seconds: float = 43_200.0) -> None:
        self.seconds = seconds
        self._links, self._sessions = home / "app" / "links", home / "app" / "sessions"

    def new_link(self, seconds: float = LINK_LIFETIME_S) -> str:
        """The token of a new link, good for one use within `seconds`."""
        return _issue(self._links, seconds, MAX_LINKS)

    def redeem(self, link: str) -> str | None:
        """The token of a new session; None when the link is unknown, used or too old."""
        if not _take(self._links, link):
            return None
        return _issue(self._sessions, self.seconds, MAX_SESSIONS)

    def expires(self, session: str) -> float | None:
        """When a session ends, in seconds since the epoch; None when there is no such session now."""
        expires = _read(self._sessions, session)
        return expires if expires is not None and time.time() < expires else None

    def end(self, session: str) -> None:
        """Sign one browser out."""
        _take(self._sessions, session)

    def clear(self) -> None:
        """Sign every browser out and void every link."""
        for folder in (self._links, self._sessions):
            for path in _files(folder):
                path.unlink(missing_ok=True)


def _issue(folder: Path, seconds: float, most: int) -> str:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    known = sorted(_files(folder), key=_modified)
    for path in known[: max(0, len(known) - most + 1)]:
        path.unlink(missing_ok=True)
    token = secrets.token_urlsafe(32)
    temporary = folder / f"new.{secrets.token_hex(8)}"
    with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
        file.write(repr(time.time() + seconds))
    temporary.rename(_path(folder, token))
    return token


def _take(folder: Path, token: str) -> bool:
    """Remove what `token` names; whether it was there, still good, and removed by us."""
    expires = _read(folder, token)
    if expires is None:
        return False
    try:
        _path(folder, token).unlink()
    except FileNotFoundError:  # somebody else was faster
        return False
    return time.time() < expires


def _read(folder: Path, token: str) -> float | None:
    if not 0 < len(token) <= MAX_TOKEN:
        return None
    try:
        return float(_path(folder, token).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _path(folder: Path, token: str) -> Path:
    return folder / hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_file()]
    except FileNotFoundError:
        return []


def _modified(path: Path) -> float:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0
