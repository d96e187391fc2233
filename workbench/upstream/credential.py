"""What the gateway itself presents to a server, where that changes while a connection lasts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from workbench.registry.definitions.name_checks import header_objection
from workbench.secrets import SecretNotFoundError, SecretResolver


class Credential(Protocol):
    """Headers for the requests to one server."""

    async def headers(self) -> Mapping[str, str]:
        """What to send now; waits for nothing while it is good.

        Raises:
            UnreachableError: it cannot be had, so that nothing may be sent.
        """

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """The server answered 401 to these headers. Whether there are others now, with which to ask once more."""


class SecretHeaders:
    """Headers whose values are kept elsewhere, and read anew from there.

    Args:
        headers: with references in place of secrets.
        secrets: resolves them.
    """

    def __init__(self, headers: Mapping[str, str], secrets: SecretResolver) -> None:
        self._wanted = dict(headers)
        self._secrets = secrets

    async def headers(self) -> Mapping[str, str]:
        made = await self._secrets.fill(self._wanted)
        for name, value in made.items():
            if header_objection(name, value):  # which says what is wrong with the value, and so something of it
                raise SecretNotFoundError(f"The secret for the header {name!r} has characters that no header can have.")
        return made

    async def renew(self, refused: Mapping[str, str]) -> bool:
        renewed = False
        for name, text in self._wanted.items():
            renewed |= await self._secrets.renew(text, refused[name]) is not None
        return renewed


class CombinedCredential:
    """More than one credential at once.

    Args:
        parts: of which no two make the same header.
    """

    def __init__(self, *parts: Credential) -> None:
        self._parts = parts

    async def headers(self) -> Mapping[str, str]:
        return {name: value for part in self._parts for name, value in (await part.headers()).items()}

    async def renew(self, refused: Mapping[str, str]) -> bool:
        return any([await part.renew(refused) for part in self._parts])


class CredentialMiddleware:
    """Middleware of the HTTP client: every request carries the credential, and is sent once more after a 401.

    A server that answers 401 has not looked at the request, so that nothing is done twice.
    """

    def __init__(self, credential: Credential) -> None:
        self._credential = credential

    async def __call__(self, request: Any, handler: Any) -> Any:
        presented = await self._credential.headers()
        request.headers.update(presented)
        response = await handler(request)
        if response.status == 401 and await self._credential.renew(presented):
            response.release()
            request.headers.update(await self._credential.headers())
            response = await handler(request)
        return response
