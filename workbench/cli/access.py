"""`workbench access`: keys, roles, and why someone may or may not call a tool."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from workbench.cli.clients import clients
from workbench.cli.context import as_json, local_settings, opened, print_json, typed
from workbench.events import MisuseError, now_us

if TYPE_CHECKING:
    from workbench.access import Access
    from workbench.access.api_keys import KeyInfo
    from workbench.events import Caller, Decision


DAYS = click.FloatRange(min=0, min_open=True, max=100 * 365)


def _access() -> Access:
    from workbench.access import Access
    from workbench.config import prepare_home

    settings = local_settings("`workbench access`")
    prepare_home(settings.home)
    return Access(settings)


@click.group()
def access() -> None:
    """API keys, roles and OAuth clients; and why somebody may or may not call a tool."""


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
        state = "revoked" if key.revoked_us else "active" if key.usable(now_us()) else "expired"
        click.echo(f"{key.id}  {state:<8} {key.tenant}/{key.subject}  {'  '.join(_terms(key))}")


def _terms(key: KeyInfo) -> Iterator[str]:
    """What a key grants, and how narrowly, in words."""
    yield f"roles {', '.join(key.roles) or '-'}"
    if key.scopes:
        yield f"scopes {', '.join(key.scopes)}"
    if key.rate_per_minute is not None:
        yield f"{key.rate_per_minute} calls a minute"
    if key.expires_us is not None:
        yield f"until {datetime.fromtimestamp(key.expires_us / 1e6, UTC):%Y-%m-%d %H:%M} UTC"
    if key.note:
        yield key.note


@access.command()
def identity() -> None:
    """Print the gateway's own public key, to be registered with an identity provider (JWKS)."""
    from workbench.access.outbound.signing_keys import gateway_key
    from workbench.config import prepare_home

    settings = local_settings("`workbench access`")
    prepare_home(settings.home)
    print_json(gateway_key(settings).key_set())


@access.command()
@click.argument("subject")
@click.option("--role", "roles", multiple=True, required=True, help="A role, e.g. employee; repeat for several.")
@click.option("--scope", "scopes", multiple=True, help="Narrow the key to these scopes; repeat for several.")
@click.option("--tenant", help="Tenant of the key. Default: the local one.")
@click.option("--days", type=DAYS, help="Days until it expires. Default: never.")
@click.option(
    "--rate", type=click.IntRange(min=1), help="Calls per minute of its holder. Default: the setting rate_per_minute."
)
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
    """Create a key for SUBJECT. It is shown once."""
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
@click.option("--write", is_flag=True, help="Write the shipped roles to the file that replaces them, for editing.")
@as_json
def roles(write: bool, as_json: bool) -> None:
    """List the roles and what they grant."""
    if write:
        from workbench.access.roles import write_roles
        from workbench.config import prepare_home

        settings = local_settings("`workbench access`")
        prepare_home(settings.home)
        path = write_roles(settings)
        if as_json:
            print_json({"path": path})
        else:
            click.echo(path)
        return
    found = _access().roles
    if as_json:
        print_json({name: sorted(found.scopes((name,))) for name in found.roles})
        return
    for name in found.roles:
        click.echo(f"{click.style(name, bold=True):<20} {', '.join(sorted(found.scopes((name,))))}")


@access.command()
@click.argument("tool")
@click.option("--as", "who", required=True, help="A role, e.g. employee; or a key's id or its holder.")
@as_json
@click.pass_context
def explain(ctx: click.Context, tool: str, who: str, as_json: bool) -> None:
    """Say whether somebody may call TOOL: scope by scope, and which rule decides. Exit code 7 when they may not.

    Somebody with several keys is judged by each of them.
    """
    from workbench.events import Call
    from workbench.policy import Policy

    access = _access()
    with opened() as wb:
        found = next((t for t in wb.tools() if t.qualified == tool), None)
        near = [] if found else [t.qualified for t in wb.tools(tool, limit=3)]
        policy = Policy(wb.settings)
    if found is None:
        raise MisuseError(f"There is no tool {tool!r}.", hint=f"Did you mean {' or '.join(near)}?" if near else "")
    callers = _callers(access, who, wb.settings.tenant)

    async def decisions() -> list[Decision]:
        try:
            return [await policy.decide_async(Call(caller=caller, tool=tool), found) for caller in callers]
        finally:
            await policy.disconnect()

    explanations = [access.explain(caller, found) for caller in callers]
    judged = list(zip(callers, explanations, asyncio.run(decisions()), strict=True))
    if as_json:
        answers = [{"credential": c.credential, "explanation": e, "decision": d} for c, e, d in judged]
        print_json(answers[0] if len(answers) == 1 else answers)
    else:
        for caller, explanation, decision in judged:
            verdict = "yes" if decision.allow else "only with a human approval" if decision.approval else "no"
            whose = f"key {caller.credential} of {caller.subject}: " if caller.credential else ""
            click.echo(f"{whose}{verdict}, by {decision.rule}{': ' + decision.reason if decision.reason else ''}")
            for line in explanation.lines:
                click.echo(f"  {line}")
            if explanation.remedy:
                click.echo(f"  {typed(explanation.remedy)}")
    ctx.exit(0 if any(decision.allow or decision.approval for _, _, decision in judged) else 7)


def _callers(access: Access, who: str, tenant: str) -> list[Caller]:
    """Whom `who` means: anyone with that role, else a key by its id, else the usable keys of that person.

    Raises:
        MisuseError: nobody is called so, or none of their keys is usable.
    """
    from workbench.events import Caller

    if who in access.roles.roles:
        scopes = access.roles.scopes((who,))
        return [Caller(tenant=tenant, subject=f"anyone with role {who}", roles=(who,), scopes=scopes, credential="")]
    keys = access.keys()
    meant = [key for key in keys if key.id == who] or [key for key in keys if key.subject == who]
    usable = [access.caller_of(key) for key in meant if key.usable(now_us())]
    if meant and not usable:
        raise MisuseError(f"No key of {who} is usable any more.", hint="`workbench access keys` lists them.")
    if not meant:
        roles = ", ".join(access.roles.roles)
        raise MisuseError(
            f"There is no role, key or holder of a key {who!r}.",
            hint=f"Roles are {roles}; `workbench access keys` lists keys and their holders.",
        )
    return usable
