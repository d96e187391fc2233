"""Which marks the processes of living and dead platforms of one state folder carry."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from workbench.registry.processes import reaper


class ProcessMarks:
    """One file per platform that runs on a state folder, named by its mark and locked (flock) as long as it lives.

    A file that nobody holds was left by a platform that was killed. Its reaper ends its processes as a rule; whoever
    killed that, too, has left orphans, which the next platform ends.

    Args:
        home: the state folder.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / "launches"
        self._own: tuple[Path, int] | None = None

    def take(self, mark: str) -> list[int]:
        """Note `mark` as ours, and end the processes of platforms that are dead; returns which those were.

        Raises:
            OSError: the state folder cannot be written.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._folder / mark
        fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        self._own = path, fd
        return [pid for other in sorted(self._folder.iterdir()) if other != path for pid in _ended(other)]

    def give_up(self) -> None:
        """Our processes have ended."""
        if self._own is not None:
            path, fd = self._own
            self._own = None
            path.unlink(missing_ok=True)
            os.close(fd)


def _ended(path: Path) -> list[int]:
    """End what carries the mark that `path` is named by, unless its platform lives; returns what was ended."""
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return []
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_nlink == 0:  # its platform has just given it up
            return []
        found = reaper.marked(path.name)
        reaper.sweep(path.name)
        path.unlink(missing_ok=True)
        return found
    except BlockingIOError:
        return []
    finally:
        os.close(fd)
