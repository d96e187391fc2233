"""How many bytes of answers wait for slow readers, and when further calls are turned away because of them."""

from __future__ import annotations

from typing import Final

MAX_UNREAD_BYTES: Final = 256 << 20
"""Bytes of answers that wait for slow readers, before further calls are turned away."""


class UnreadBytes:
    """Bytes of large answers in this process that their clients are still reading."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0

    @property
    def too_many(self) -> bool:
        """Whether further calls have to wait until clients have read more."""
        return self.bytes > MAX_UNREAD_BYTES


UNREAD: Final = UnreadBytes()
"""Of this process: every endpoint adds to it, and the call path looks at it."""
