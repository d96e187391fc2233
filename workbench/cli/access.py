"""`workbench access`: keys, roles, and why someone may or may not call a tool."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from workbench.cli.clients import clients
from workbench.cli.opening import SECONDS, as_json, local_settings, opened, print_json
from workbench.events import Misuse

if TYPE_CHECKING:
    from workbench.access import Access


def _access() -> Access:
    from workbench.access import Access
    from workbench.config import prepare_home

    settings = local_settings("`workbench access`")
    prepare_home(settings.home)
    return Access(settings)


@click.group()
def access() -> None:
    """Keys, and why someone may or may not call a tool."""


access.add_command(clients)


@access.command()
@as_json
def keys(as_json: bool) -> None:
    """List keys; secrets are never shown again."""
    found = _access().keys()
    if as_json:
        print_json(found)
        return
    for key in found:
        state = "revoked" if key.revoked_us else "active"
        click.echo(f"{key.id}  {state:<8} {key.tenant}/{key.subject}  roles {', '.join(key.roles) or '-'}  {key.note}")


@access.command()
def identity() -> None:
    """Print the gateway's own public key, to be registered with an identity provider (JWKS)."""
    from workbench.access.signing_keys import gateway_key
    from workbench.config import prepare_home

    settings = local_settings("`workbench access`")
    prepare_home(settings.home)
    print_json(gateway_key(settings).key_set())


@access.command()
@click.argument("subject")
@click.option("--role", "roles", multiple=True, required=True, help="A role, e.g. employee; repeat for several.")
@click.option("--scope", "scopes", multiple=True, help="Narrow the key to these scopes; repeat for several.")
@click.option("--tenant", help="Tenant of the key. Default: the local one.")
@click.option("--days", type=SECONDS, help="Days until it expires. Default: never.")
@click.option("--rate", type=click.IntRange(min=1), help="Calls per minute of its holder. Default: the settings'.")
@click.option("--note", default="", help="What the key is for.")
@as_json
def create(
    subject: str,
    roles: tuple[str, ...],
    scopes: tuple[str, ...],
    tenant: str | None,
    days: float | None,
    rate: int | None,
    note: str,
    as_json: bool,
) -> None:
    """Make a key for SUBJECT. It is shown once."""
    expires = None if days is None else int((time.time() + days * 86_400) * 1e6)
    info, secret = _access().create_key(
        subject, roles=roles, scopes=scopes, tenant=tenant, expires_us=expires, note=note, rate_per_minute=rate
    )
    if as_json:
        print_json({"key": info, "secret": secret})
        return
    click.echo(secret)
    click.echo(f"Key {info.id} for {info.subject}; this is the only time it is shown.", err=True)


@access.command()
@click.argument("key")
def revoke(key: str) -> None:
    """Revoke a key; it stops working at once."""
    _access().revoke(key)
    click.echo(f"{key} revoked.")


@access.command()
@as_json
def roles(as_json: bool) -> None:
    """List the roles and what they grant."""
    found = _access().roles
    if as_json:
        print_json({name: sorted(found.scopes((name,))) for name in found.roles})
        return
    for name in found.roles:
        click.echo(f"{click.style(name, bold=True):<20} {', '.join(sorted(found.scopes((name,))))}")


@access.command()
@click.argument("tool")
@click.option("--as", "role", required=True, help="A role, e.g. employee.")
@as_json
@click.pass_context
def explain(ctx: click.Context, tool: str, role: str, as_json: bool) -> None:
    """Whether ROLE may call TOOL, scope by scope, and which rule of the policy decides. Exit code 7 when not."""
    from workbench.events import Call, Caller
    from workbench.policy import Policy

    access = _access()
    with opened() as wb:
        found = next((t for t in wb.tools() if t.qualified == tool), None)
        near = [] if found else [t.qualified for t in wb.tools(tool, limit=3)]
        policy = Policy(wb.settings)
    if found is None:
        raise Misuse(f"There is no tool {tool!r}.", hint=f"Did you mean {' or '.join(near)}?" if near else "")
    access.roles.check((role,))
    caller = Caller(
        tenant=wb.settings.tenant,
        subject=f"anyone with role {role}",
        roles=(role,),
        scopes=access.roles.scopes((role,)),
    )
    explanation = access.explain(caller, found)
    decision = policy.decide(Call(caller=caller, tool=tool), found)
    if as_json:
        print_json({"explanation": explanation, "decision": decision})
    else:
        verdict = "yes" if decision.allow else "only with a human approval" if decision.approval else "no"
        click.echo(f"{verdict}, by {decision.rule}{': ' + decision.reason if decision.reason else ''}")
        for line in explanation.lines:
            click.echo(f"  {line}")
    ctx.exit(0 if decision.allow or decision.approval else 7)
