"""How the gateway authenticates to a server: what `auth` of a server in an `mcp.json` may say. It holds no secret."""

from __future__ import annotations

from typing import Literal

from workbench.events import MisuseError, Record
from workbench.secrets import is_reference

AuthType = Literal["client_credentials", "token_exchange", "secret"]

_OAUTH = ("client_id", "client_secret", "private_key", "method", "issuer", "resource", "audience", "scope")
KEYS: dict[str, tuple[str, ...]] = {
    "client_credentials": _OAUTH,
    "token_exchange": _OAUTH,
    "secret": ("secret", "header", "scheme"),
}
"""What may stand beside `type`."""
METHODS = ("client_secret_basic", "private_key_jwt", "jwt_svid")
_REFERENCES = ("client_secret", "private_key", "secret")


class ServerAuth(Record, frozen=True, kw_only=True):
    """What is presented to a server, and where it is got."""

    type: AuthType
    """`client_credentials`: a token of the gateway's own; `token_exchange`: one for each caller; `secret`: one that
    does not change by itself."""
    client_id: str = ""
    """How the identity provider knows this gateway."""
    client_secret: str = ""
    """Reference to the secret of the client."""
    private_key: str = ""
    """Reference to the private key of the client; without it, `private_key_jwt` is signed with the gateway's own."""
    method: Literal["", "client_secret_basic", "private_key_jwt", "jwt_svid"] = ""
    """How the client proves who it is; empty: by its secret, else by a key."""
    issuer: str = ""
    """The identity provider; empty: the one that the server names, if it is of the server's own origin."""
    resource: str = ""
    """What the token is to be for (RFC 8707); empty: the URL of the server."""
    audience: str = ""
    scope: str = ""
    secret: str = ""
    """Reference to what is sent in `header`, after `scheme`."""
    header: str = "Authorization"
    scheme: str = "Bearer"

    @property
    def proof(self) -> Literal["client_secret_basic", "private_key_jwt", "jwt_svid"]:
        """How the client proves who it is."""
        return self.method or ("client_secret_basic" if self.client_secret else "private_key_jwt")

    def secrets(self) -> tuple[str, ...]:
        """The references."""
        return tuple(text for name in _REFERENCES if (text := getattr(self, name)))


def server_auth(values: dict[str, str]) -> ServerAuth:
    """What `auth` of a server says.

    Raises:
        MisuseError: something is missing, unknown, or does not go together. The message is the end of a sentence,
            for the
            place in the file is put before it.
    """
    kind = values.get("type", "")
    if kind not in KEYS:
        raise MisuseError(f"'type' of 'auth' is {kind!r}", hint=f"Expected one of {', '.join(KEYS)}.")
    unknown = next((key for key in values if key not in ("type", *KEYS[kind])), None)
    if unknown is not None:
        raise MisuseError(f"{unknown!r} beside type {kind!r}", hint=f"Expected {', '.join(KEYS[kind])}.")
    for name in _REFERENCES:
        if values.get(name) and not is_reference(values[name]):
            hint = f"Put it into a secret, and its name here: {name} = secret:NAME."
            raise MisuseError(f"{name!r} is not the name of a secret", hint=hint)
    needed = "secret" if kind == "secret" else "client_id"
    if not values.get(needed):
        raise MisuseError(f"'auth' of type {kind!r} lacks {needed!r}", hint=f"Add {needed!r}.")
    if values.get("method", METHODS[0]) not in METHODS:
        raise MisuseError(f"'method' is {values['method']!r}", hint=f"Expected one of {', '.join(METHODS)}.")
    made = ServerAuth(**values)  # type: ignore[arg-type]
    given = {"client_secret_basic": made.client_secret, "private_key_jwt": True, "jwt_svid": True}
    if kind != "secret" and not given[made.proof]:
        raise MisuseError(f"method {made.proof!r} without 'client_secret'", hint="Add client_secret = secret:NAME.")
    if (made.client_secret and made.proof != "client_secret_basic") or (
        made.private_key and made.proof != "private_key_jwt"
    ):
        raise MisuseError("'method' and what the client has do not go together", hint="Leave out method, or the other.")
    return made
