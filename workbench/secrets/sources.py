"""Where secrets are read from. Each source says whether it has one, has none, or cannot tell."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from workbench.events import UnreachableError

MAX_SECRET_BYTES: Final = 64 << 10
"""Bytes of one secret."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class SecretNotFoundError(UnreachableError):
    """A secret cannot be had: nobody has it, or who should does not answer. The message names it and holds no value."""

    error_kind = "NoSecret"


class SecretSource(Protocol):
    """One place that keeps secrets. Reading may wait for a network, so it is done in a thread."""

    name: str

    def read(self, name: str) -> tuple[str, str] | None:
        """The value in force and what tells it from earlier ones; None when there is no such secret.

        Raises:
            SecretNotFoundError: it cannot be told, or the secret is kept in a way that is not safe.
        """

    def pending(self, name: str) -> str | None:
        """The value that is about to take the place of the one in force, while it is being rotated."""


class EnvironmentSource:
    """Variables of the environment, for development and for containers."""

    name = "env"

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self._env = env

    def read(self, name: str) -> tuple[str, str] | None:
        value = (os.environ if self._env is None else self._env).get(name) if _VARIABLE.fullmatch(name) else None
        return (value, f"variable {name}") if value else None

    def pending(self, name: str) -> str | None:
        return None


class FolderSource:
    """Files of one folder, one secret each, readable by their owner alone.

    Args:
        folder: may be missing; then it has no secret.
    """

    name = "file"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, name: str) -> tuple[str, str] | None:
        path = self.folder / name
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a fifo would wait for ever
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as e:
            raise SecretNotFoundError(f"The secret {name!r} cannot be read from {path}: {e.strerror}.") from e
        try:
            found = os.fstat(descriptor)
            if why := _objection(found):
                raise SecretNotFoundError(
                    f"The secret {name!r} is not read from {path}: {why}.", hint=f"chmod 600 {path}"
                )
            data = os.read(descriptor, MAX_SECRET_BYTES + 1)
        finally:
            os.close(descriptor)
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as e:
            raise SecretNotFoundError(f"The secret {name!r} in {path} is no UTF-8 text.") from e.with_traceback(None)
        if len(data) > MAX_SECRET_BYTES:
            raise SecretNotFoundError(f"The secret {name!r} in {path} is larger than {MAX_SECRET_BYTES:,} bytes.")
        text = text.removesuffix("\n").removesuffix("\r")
        return (text, f"file of {found.st_mtime_ns}") if text else None

    def pending(self, name: str) -> str | None:
        return None


def _objection(found: os.stat_result) -> str:
    """Why a file is not a safe place for a secret; empty if it is one."""
    if not stat.S_ISREG(found.st_mode):
        return "it is no file"
    if found.st_mode & 0o077:
        return f"others may read it (mode {stat.S_IMODE(found.st_mode):o})"
    if hasattr(os, "geteuid") and found.st_uid not in (0, os.geteuid()):
        return "it belongs to another user"
    return ""
