"""How the gateway and a server know each other on TLS: what `tls` of a server in an `mcp.json` may say."""

from __future__ import annotations

import re

from workbench.events import MisuseError, Record

KEYS = ("spiffe_id", "ca", "cert", "key", "workload_api")
PATHS = ("ca", "cert", "key")

_SPIFFE_ID = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+")


class ServerTls(Record, frozen=True, kw_only=True):
    """Who a server has to be, and who we are to it. Files are named, never shown."""

    spiffe_id: str = ""
    """The identity that the server has to prove; empty goes by the name of its host."""
    ca: str = ""
    """File with the authorities that may certify it."""
    cert: str = ""
    """File with our certificate."""
    key: str = ""
    """File with its key."""
    workload_api: str = ""
    """Socket of the SPIFFE Workload API that gives all three, such as `unix:///run/spire/agent.sock`."""


def server_tls(values: dict[str, str]) -> ServerTls:
    """What `tls` of a server says.

    Raises:
        MisuseError: something is unknown or does not go together. The message is the end of a sentence, for the
            place in the
            file is put before it.
    """
    unknown = next((key for key in values if key not in KEYS), None)
    if unknown is not None:
        raise MisuseError(f"unknown key {unknown!r}", hint=f"Expected {', '.join(KEYS)}.")
    made = ServerTls(**values)
    if made.spiffe_id and not _SPIFFE_ID.fullmatch(made.spiffe_id):
        raise MisuseError(f"'spiffe_id' is {made.spiffe_id[:200]!r}", hint="Expected spiffe://trust.domain/path.")
    if made.workload_api:
        if made.ca or made.cert or made.key:
            raise MisuseError("'workload_api' beside files", hint="Expected the Workload API or files, not both.")
        if not made.spiffe_id:
            raise MisuseError("'workload_api' without 'spiffe_id'", hint="Say who the server has to be.")
        if not made.workload_api.startswith("unix:"):
            raise MisuseError("'workload_api' is no unix socket", hint="Expected unix:///path/of/agent.sock.")
    elif made.spiffe_id and not made.ca:
        raise MisuseError("'spiffe_id' without 'ca'", hint="Name the file of the trust domain's authorities.")
    if bool(made.cert) != bool(made.key):
        raise MisuseError("'cert' without 'key', or the other way round", hint="Name both files.")
    return made
