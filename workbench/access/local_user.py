"""The local user of this machine, and files that only they may read."""

from __future__ import annotations

import getpass
import os
import secrets
from pathlib import Path

_MAX_LENGTH = 8192


def user_name() -> str:
    """The name of this process's user, as the subject of the local user."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without an account, as in many containers
        return "local"


def read_private(path: Path) -> str:
    """The text of a file that only its owner may read; empty when it is not there or is a link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return ""
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as file:
        os.fchmod(descriptor, 0o600)
        return file.read(_MAX_LENGTH).strip()


def write_private(path: Path, text: str) -> None:
    """Put a text into a file that only its owner may read, all at once."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
