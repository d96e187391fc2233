"""`workbench access clients`: programs that get tokens from our own authorization server, and what people granted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from workbench.cli.context import as_json, local_settings, print_json
from workbench.config import Settings
from workbench.events import MisuseError, now_us

if TYPE_CHECKING:
    from workbench.access import Access
    from workbench.access.oauth import ClientStore, Grants


@contextlib.contextmanager
def _opened() -> Iterator[tuple[Settings, Access, ClientStore, Grants]]:
    from workbench.access import Access
    from workbench.access.oauth import ClientStore, Grants

    settings = local_settings("`workbench access clients`")
    with (
        contextlib.closing(Access(settings)) as access,
        contextlib.closing(ClientStore(access.settings)) as clients,
        contextlib.closing(Grants(access.settings)) as grants,
    ):
        yield settings, access, clients, grants


@click.group()
def clients() -> None:
    """Programs that get tokens from the OAuth server of this workbench (setting oauth_server)."""


@clients.command("list")
@as_json
def list_clients(as_json: bool) -> None:
    """List clients, and what people granted to them; secrets are never shown again."""
    with _opened() as (settings, _, known, grants):
        found, given = known.all(), grants.all()
    if as_json:
        print_json({"clients": found, "grants": given})
        return
    if not settings.oauth_server:
        click.echo("The OAuth server is off; `oauth_server = true` in config.toml switches it on.", err=True)
    for client in found:
        state = "ended" if client.revoked_us else "active"
        own = f"roles {', '.join(client.roles) or '-'}" if client.acts_alone else "for people"
        click.echo(f"{client.id}  {state:<7} {client.kind:<10} {client.name}  {own}  {' '.join(client.redirect_uris)}")
    for grant in given:
        state = "ended" if grant.revoked_us or grant.expires_us < now_us() else "active"
        since = datetime.fromtimestamp(grant.created_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M")
        scopes = " ".join(grant.scopes)
        click.echo(f"{grant.id}  {state:<7} {grant.client}  for {grant.tenant}/{grant.subject} since {since}  {scopes}")


@clients.command()
@click.argument("name")
@click.option("--role", "roles", multiple=True, help="Role of its own tokens, e.g. employee; repeat for several.")
@click.option("--scope", "scopes", multiple=True, help="Narrow its own tokens to these scopes; repeat for several.")
@click.option(
    "--redirect", "redirects", multiple=True, help="Where it may receive answers of people; repeat for several."
)
@click.option("--workload", default="", help="SPIFFE ID by which it proves who it is, instead of a secret.")
@click.option("--public", is_flag=True, help="It runs where nothing can be kept secret.")
@click.option("--tenant", help="Tenant of its own tokens. Default: the local one.")
@as_json
def create(
    name: str,
    roles: tuple[str, ...],
    scopes: tuple[str, ...],
    redirects: tuple[str, ...],
    workload: str,
    public: bool,
    tenant: str | None,
    as_json: bool,
) -> None:
    """Make a client called NAME. Its secret is shown once."""
    from workbench.access.roles import check_scopes

    with _opened() as (settings, access, known, _):
        access.roles.check(roles)
        check_scopes(scopes, "The client")
        client, secret = known.add(
            name, tenant=tenant or settings.tenant, now_us=now_us(), confidential=not public, roles=roles,
            scopes=scopes, redirect_uris=redirects, workload=workload,
        )  # fmt: skip
    if as_json:
        print_json({"client": client, "secret": secret})
        return
    click.echo(f"client_id {client.id}")
    if secret:
        click.echo(f"client_secret {secret}")
        click.echo("This is the only time the secret is shown.", err=True)


@clients.command()
@click.argument("id")
def end(id: str) -> None:
    """End a client, or what a person granted; its tokens stop working within a second."""
    with _opened() as (_, _, known, grants):
        if not (known.end(id, now_us()) or grants.end(id, now_us())):
            raise MisuseError(
                f"There is no client or grant {id!r} that was not ended before.",
                hint="`workbench access clients list`.",
            )
    click.echo(f"{id} ended.")
