"""Tokens that clients carry for us: nobody else can make, read or change one."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from workbench.events import MisuseError, now_us
from workbench.secrets.keyring import KeyRing


class SealedTokens:
    """Seals and opens tokens of one kind (AES-256-GCM, NIST SP 800-38D).

    Args:
        path: of the key; made when missing, readable by its owner alone, and shared by all replicas. Tokens of the key
            that it replaced, and of the one that follows it, open as well (`KeyRing`).
        context: what the tokens are for. One of another kind does not open.
    """

    def __init__(self, path: Path, context: bytes) -> None:
        self._cipher = AESGCM(_key(path))
        self._others = [(AESGCM(other.key), other.until_us) for other in KeyRing.beside(path).accepted()]
        self._context = context

    def close(self, data: bytes) -> str:
        """The token that carries `data`, in letters that are safe in headers and URLs."""
        nonce = os.urandom(12)
        return base64.urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, data, self._context)).rstrip(b"=").decode()

    def open(self, token: str) -> bytes | None:
        """What a token carries; None when it is not whole and ours."""
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return None
        now = now_us()
        for cipher, until_us in [(self._cipher, None), *self._others]:
            if until_us is None or now < until_us:
                with contextlib.suppress(ValueError, InvalidTag):
                    return cipher.decrypt(sealed[:12], sealed[12:], self._context)
        return None


def _key(path: Path) -> bytes:
    """32 random bytes, made once even when several processes start together."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    if not path.exists():
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    key = path.read_bytes()
    if len(key) != 32:
        raise MisuseError(
            f"{path} has {len(key)} bytes; expected 32.", hint="Move it away; clients begin new sessions then."
        )
    path.chmod(0o600)
    return key
