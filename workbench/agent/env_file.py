"""Keys of model providers from a `.env` file in the working folder, and nothing else from it.

A `.env` often lies in a folder that somebody else wrote, so only the keys of providers are taken: it can change no
setting, no address and no variable of a launched server. What the process's environment sets, wins.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from workbench.events import Record

MAX_ENV_FILE_BYTES: Final = 64 << 10


class EnvFile(Record, frozen=True, kw_only=True):
    """What was read from a `.env` file."""

    path: Path
    keys: Mapping[str, str]
    """Provider keys by variable."""
    ignored: tuple[str, ...] = ()
    """Names of the other variables in it, which count for nothing."""
    problem: str = ""
    """Why the file could not be read; empty when it was."""

    def __repr__(self) -> str:
        return f"EnvFile(path={self.path!s}, keys={sorted(self.keys)})"

    def summary(self) -> str:
        """One line for people: which variables count, and from where. Never a value."""
        if self.problem:
            return f"{self.path} was not read: {self.problem}."
        if not self.keys:
            return ""
        rest = f"; {len(self.ignored)} other variable(s) in it are ignored" if self.ignored else ""
        return f"{', '.join(sorted(self.keys))} from {self.path}{rest}"


def read_env_file(folder: Path, names: Collection[str]) -> EnvFile | None:
    """Read `.env` in `folder`; None when there is none.

    Args:
        folder: the working folder.
        names: variables that may be taken.

    A file that cannot be read, is not UTF-8 or is larger than 64 KiB gives an `EnvFile` with a problem and no keys.
    """
    path = folder / ".env"
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            data = file.read(MAX_ENV_FILE_BYTES + 1)
        if len(data) > MAX_ENV_FILE_BYTES:
            return EnvFile(path=path, keys={}, problem=f"it is larger than {MAX_ENV_FILE_BYTES} bytes")
        text = data.decode("utf-8-sig")
    except OSError as e:
        return EnvFile(path=path, keys={}, problem=e.strerror or type(e).__name__)
    except ValueError:
        return EnvFile(path=path, keys={}, problem="it is not valid UTF-8")
    found = _variables(text)
    keys = {name: value for name, value in found.items() if name in names and value}
    return EnvFile(path=path, keys=keys, ignored=tuple(sorted(set(found) - set(names))))


def _variables(text: str) -> dict[str, str]:
    from io import StringIO

    from dotenv import dotenv_values

    # without interpolation: `${HOME}` in a key would be read from our environment
    return {name: value for name, value in dotenv_values(stream=StringIO(text), interpolate=False).items() if value}
