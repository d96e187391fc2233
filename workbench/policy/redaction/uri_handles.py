"""Handles in addresses: texts that only this installation can turn back, the same for the same text of a tenant."""

from __future__ import annotations

import base64
import contextlib
import hmac
import re
from collections.abc import Iterable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

PREFIX: Final = "sealed-"
_HANDLE = re.compile(rf"{PREFIX}([A-Za-z0-9_-]{{22,}})")


class UriHandles:
    """Seals texts of one tenant, always in the same way (AES-SIV, RFC 5297), so that lists do not change by themselves.

    Args:
        key: of the installation.
        tenant: whose handles. Those of another do not open.
        others: further keys whose handles open: before and after a rotation.
    """

    def __init__(self, key: bytes, tenant: str, others: Iterable[bytes] = ()) -> None:
        salt = f"handles\0{tenant}".encode("utf-8", "surrogatepass")
        self._ciphers = [AESSIV(hmac.digest(each, salt, "sha512")) for each in (key, *others)]

    def close(self, text: str) -> str:
        """The handle of a text, in letters that are safe in every part of a URI."""
        sealed = self._ciphers[0].encrypt(text.encode("utf-8", "surrogatepass"), [])
        return PREFIX + base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open_all(self, text: str) -> str:
        """`text` with every handle in it turned back; what is none, or another tenant's, stays."""
        return _HANDLE.sub(lambda found: self._opened(found[1]) or found[0], text) if PREFIX in text else text

    def _opened(self, sealed: str) -> str:
        try:
            data = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return ""
        for cipher in self._ciphers:
            with contextlib.suppress(ValueError, InvalidTag):
                return cipher.decrypt(data, []).decode("utf-8", "surrogatepass")
        return ""
