"""From the address of a server to where tokens for it are issued (RFC 9728, RFC 8414)."""

from __future__ import annotations

from urllib.parse import urlsplit

from workbench.access.issuers import issuer_metadata
from workbench.access.outbound.fetch import JsonFetcher, origin
from workbench.events import Record, UnreachableError

PROTECTED = "/.well-known/oauth-protected-resource"


class TokenEndpoint(Record, frozen=True, kw_only=True):
    """Where tokens for one server are had."""

    issuer: str
    url: str
    resource: str
    """What the tokens are to be for (RFC 8707)."""


async def token_endpoint(server: str, fetcher: JsonFetcher, *, issuer: str = "", resource: str = "") -> TokenEndpoint:
    """The endpoint that issues tokens for the server at this URL.

    Without `issuer` the server is asked for its own, and is believed if that is of the server's own origin: else
    whoever controls the server could have our client's proof sent anywhere.

    Raises:
        UnreachableError: it cannot be found out, or must be confirmed by a person.
    """
    if not issuer:
        issuer, resource = await _named_by(server, fetcher, resource)
    metadata = await issuer_metadata(issuer, fetcher)
    url = metadata.get("token_endpoint")
    if not isinstance(url, str) or origin(url) == "":
        raise UnreachableError(f"The issuer {issuer} names no token endpoint.")
    return TokenEndpoint(issuer=issuer, url=url, resource=resource or server)


async def _named_by(server: str, fetcher: JsonFetcher, resource: str) -> tuple[str, str]:
    """Issuer and resource as the server's metadata name them (RFC 9728 §3)."""
    parts = urlsplit(server)
    base = f"{parts.scheme}://{parts.netloc}"
    found, problem = None, UnreachableError(f"The server {server} does not say who issues tokens for it.")
    for path in dict.fromkeys((parts.path.rstrip("/"), "")):
        try:
            found = await fetcher.get(f"{base}{PROTECTED}{path}")
        except UnreachableError as e:
            problem = e
            continue
        if found.get("resource") not in (f"{base}{path}", f"{base}{path}/", server):
            raise UnreachableError(f"The metadata of {server} are about another resource.")  # RFC 9728 §3.3
        break
    if found is None:
        raise UnreachableError(str(problem.args[0]), hint="Name the issuer in `auth` of this server.") from problem
    issuers = found.get("authorization_servers")
    if not isinstance(issuers, list) or not issuers or not all(isinstance(one, str) for one in issuers):
        raise UnreachableError(f"The metadata of {server} name no issuer.", hint="Name it in `auth` of this server.")
    own = next((one for one in issuers if origin(one) == origin(server)), None)
    if own is None:
        raise UnreachableError(
            f"The server {server} has its tokens issued by {str(issuers[0])[:200]!r}, which nobody here has confirmed.",
            hint="If that is right, put it as issuer into `auth` of this server.",
        )
    return own, resource or str(found["resource"])
