"""`workbench doctor`: every check with what to do about it, and every setting with its source."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from workbench.cli.context import as_json, console, print_json, typed
from workbench.cli.security import SecurityCheck, examine_security, secret_origins
from workbench.config import Settings, meaning, names
from workbench.display_text import terminal_text
from workbench.events import WorkbenchError, counted

if TYPE_CHECKING:
    from workbench.events import UnreachableError
    from workbench.registry import ServerSpec

SLOW_CONTROL_MS = 20.0
"""Milliseconds above which the control store is said to be slow."""


@click.command()
@click.option("--security", is_flag=True, help="Instead of settings and health, answer what a security reviewer asks.")
@click.option(
    "--settings", "all_settings", is_flag=True, help="Also print every setting with its value, source and meaning."
)
@as_json
@click.pass_context
def doctor(ctx: click.Context, security: bool, all_settings: bool, as_json: bool) -> None:
    """Report problems, each with a hint, and settings that differ from their defaults. Exit code 1 with a problem."""
    from workbench.platform.run_file import as_started

    settings = as_started(Settings.load(home=ctx.obj.get("home")))
    if security:
        checks = list(examine_security(settings))
        if as_json:
            print_json({"checks": checks})
        else:
            _print_checks(checks)
        ctx.exit(1 if any(c.verdict == "problem" for c in checks) else 0)
    checks = list(examine(settings))
    if as_json:
        values = [
            {"name": n, "value": _text(getattr(settings, n)), "source": settings.source_of(n), "meaning": meaning(n)}
            for n in names()
        ]
        print_json({"settings": values, "checks": checks})
    else:
        _print_checks(checks)
        _print_settings(settings, everything=all_settings)
    ctx.exit(1 if any(c.verdict == "problem" for c in checks) else 0)


def _text(value: object) -> object:
    if isinstance(value, tuple):
        return [_text(v) for v in value]
    if isinstance(value, str):  # an address may carry a password
        return re.sub(r"(?<=password=)[^&\s]+", "***", re.sub(r"(?<=://)[^/@\s]*@", "***@", value))
    return str(value) if isinstance(value, Path) else value


def _print_settings(settings: Settings, *, everything: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    shown = [name for name in names() if everything or settings.source_of(name) != "default"]
    out = console()
    out.print()
    if shown:
        table = Table(box=None, pad_edge=False)
        for column in ("setting", "value", "from", "meaning"):
            table.add_column(column, style="bold" if column == "setting" else None, overflow="fold")
        for name in shown:
            source = settings.source_of(name)
            style = "dim" if source == "default" else ""
            value = Text(str(_text(getattr(settings, name))), style)
            table.add_row(name, value, Text(source, style), Text(meaning(name), "dim"))
        out.print(table)
    if others := len(names()) - len(shown):
        all_of_them = typed("`workbench doctor --settings`")
        out.print(Text(f"{counted(others, 'setting')} at their defaults; {all_of_them} shows them.", "dim"))


def _print_checks(checks: list[SecurityCheck]) -> None:
    from rich.text import Text

    out = console()
    colours = {"ok": "green", "warning": "yellow", "problem": "red"}
    for check in checks:
        out.print(
            Text.assemble(
                (f"{check.verdict:<8}", colours[check.verdict]), (f"{check.name}: ", "bold"), typed(check.finding)
            )
        )
        if check.hint:
            out.print(Text(f"        {typed(check.hint)}", "dim"))


def examine(settings: Settings) -> Iterator[SecurityCheck]:
    """All checks, in the order in which one would mend things."""
    for name, look in (
        ("python", _python), ("state folder", _state), ("disk", _disk), ("control", _control), ("record", _record),
        ("fleet", _fleet), ("platform", _platform), ("ports", _ports), ("policy", _policy), ("roles", _roles),
        ("servers", _servers),
        ("mcp.json", _mcp_json),
        ("profiles", _profiles),
        ("data", _data), ("secrets", _secrets), ("answers", _answers),
    ):  # fmt: skip
        try:
            found = look(settings)
        except WorkbenchError as e:
            found = SecurityCheck(name=name, verdict="problem", finding=str(e.args[0]), hint=e.hint)
        yield SecurityCheck(name=name, verdict=found.verdict, finding=found.finding, hint=found.hint)


def _ok(finding: str, hint: str = "") -> SecurityCheck:
    return SecurityCheck(name="", verdict="ok", finding=finding, hint=hint)


def _warning(finding: str, hint: str) -> SecurityCheck:
    return SecurityCheck(name="", verdict="warning", finding=finding, hint=hint)


def _problem(finding: str, hint: str) -> SecurityCheck:
    return SecurityCheck(name="", verdict="problem", finding=finding, hint=hint)


def _python(settings: Settings) -> SecurityCheck:
    return _ok(f"{sys.version.split()[0]} at {sys.executable}")


def _state(settings: Settings) -> SecurityCheck:
    from workbench.config import prepare_home

    home = prepare_home(settings.home)
    if not os.access(home, os.W_OK):
        return _problem(f"{home} cannot be written.", "Give yourself the right, or set WORKBENCH_HOME.")
    others = home.stat().st_mode & 0o077
    if others:
        return _warning(f"{home} can be read by others (mode {home.stat().st_mode & 0o777:o}).", f"chmod 700 {home}")
    return _ok(str(home))


def _disk(settings: Settings) -> SecurityCheck:
    free = shutil.disk_usage(settings.home).free
    text = f"{free / (1 << 30):.1f} GiB free for the record"
    if free < settings.audit_min_free_bytes:
        return _problem(text + "; calls are refused.", "Free some space, or move WORKBENCH_HOME.")
    if free < 10 * settings.audit_min_free_bytes:
        return _warning(text + ".", f"Below {settings.audit_min_free_bytes >> 20} MiB calls are refused.")
    return _ok(text)


def _control(settings: Settings) -> SecurityCheck:
    from workbench.control import open_store

    store = open_store(settings)
    try:
        milliseconds = min(store.probe() for _ in range(3))
        finding = f"{store.where}, answers in {milliseconds:.1f} ms"
    finally:
        store.close()
    if milliseconds > SLOW_CONTROL_MS:
        return _warning(f"{finding}.", "A new key, an approval and a token each wait for it: put it nearer.")
    if settings.database_url and not settings.redis_url:
        finding += "; without redis_url each gateway counts calls alone"
        return _warning(finding, "Set redis_url, see docs/deployment.md.")
    return _ok(finding, "" if settings.database_url else "`database_url` shares it, see docs/deployment.md.")


def _record(settings: Settings) -> SecurityCheck:
    from workbench.audit import verify

    found = verify(settings.home)
    if not found.ok:
        return _problem(str(found), "Keep a copy of the folder, then `workbench audit verify --deep`.")
    return _ok(str(found).splitlines()[0])


def _fleet(settings: Settings) -> SecurityCheck:
    from workbench.audit.fleet.fleet import members

    if not settings.audit_catalog and not settings.audit_engine:
        return _ok("the record is of this gateway alone")
    found = members(settings)
    return _ok(f"{counted(len(found), 'gateway')} share their records, {counted(sum(m.rows for m in found), 'row')}")


def _platform(settings: Settings) -> SecurityCheck:
    import workbench
    from workbench.platform.run_file import find_running

    if settings.url:
        with workbench.open(url=settings.url, source="cli") as wb:
            return _ok(f"elsewhere, at {settings.url}, version {wb.status()['version']}")
    running = find_running(settings.home)
    if running is None:
        return _ok("not running", "`workbench up` starts it.")

    with workbench.open(home=settings.home, attach=True, source="cli") as wb:
        status = wb.status()
    rooms = ("policy", "access", "control")
    problems = [status[room]["problem"] for room in rooms if status.get(room, {}).get("problem")]
    if problems:
        return _problem(" ".join(problems), "Mend the file; the running platform takes it up within a second.")
    record = status.get("record", {})
    if record.get("full_tenants") or record.get("refused"):
        whose = ", ".join(record["full_tenants"] or sorted(record["refused"]))
        return _warning(
            f"Calls of {whose} were refused: {record['bytes_per_hour']:,} bytes an hour on the record were used up.",
            "`workbench questions refusals` tells who asks; record_bytes_per_hour is the setting.",
        )
    return _ok(f"runs at {running.url} (process {running.pid})")


def _ports(settings: Settings) -> SecurityCheck:
    from workbench.platform.ports import free
    from workbench.platform.run_file import find_running

    if find_running(settings.home) is not None:
        return _ok("held by the running platform")
    for host, port, what in ((settings.host, settings.port, "gateway"), (settings.app_host, settings.app_port, "app")):
        free(host, port, what)
    return _ok(f"{settings.port} and {settings.app_port} are free")


def _policy(settings: Settings) -> SecurityCheck:
    from workbench.policy import Policy

    policy = Policy(settings)
    try:
        problem = asyncio.run(policy.probe())
    finally:
        policy.close()
    if problem:
        return _problem(problem, "What cannot be asked denies; the last good rules decide as long as they can.")
    return _ok(f"revision {policy.revision[:12]}, calls are decided by {policy.engine.description}")


def _roles(settings: Settings) -> SecurityCheck:
    from workbench.access import Access

    access = Access(settings)
    try:
        if access.problem:
            return _problem(access.problem, "Mend the file; roles that nobody can read grant nothing.")
        return _ok(f"{', '.join(access.roles.roles)} from {access.roles.source}")
    finally:
        access.close()


def _servers(settings: Settings) -> SecurityCheck:
    import workbench
    from workbench.platform.run_file import find_running

    if not settings.url and find_running(settings.home) is None:
        return _ok("none runs", "`workbench up` starts them.")
    elsewhere = {"url": settings.url} if settings.url else {"home": settings.home, "attach": True}
    with workbench.open(source="cli", **elsewhere) as wb:
        states = wb.servers()
    wanted = [state for state in states if state.status != "disabled"]
    bad = [state for state in wanted if state.status != "ready"]
    ready = f"{len(wanted) - len(bad)} of {counted(len(wanted), 'server')} ready"
    said = [f"{state.id} {state.condition}: {terminal_text(state.last_error)}".rstrip(": ") for state in bad]
    finding = "\n".join([ready, *said])
    if not bad:
        return _ok(finding)
    hint = (
        "Mend what is named, then `workbench servers restart NAME`, or `workbench servers reload` after a change of "
        "the configuration."
    )
    if all(state.status == "starting" for state in bad):
        return _warning(finding, "Look again when they have started.")
    return _problem(finding, hint)


def _mcp_json(settings: Settings) -> SecurityCheck:
    from workbench.registry import foreign_servers

    found = foreign_servers(settings)
    said = [f"{one.id} is {one.status}: {one.reason}" for one in found.excluded]
    said += [f"{spec.id}: {notice}" for spec in found.servers for notice in spec.notices]
    said += [*found.problems, *found.notices]
    if not (found.servers or said):
        return _ok("none configured", "`workbench add` takes the servers of a client that is installed here.")
    sources = sorted({spec.source for spec in found.servers} | {one.source for one in found.excluded})
    finding = "\n".join(
        [f"{counted(len(found.servers), 'server')} in {', '.join(sources) or settings.mcp_config}", *said]
    )
    absent = [(spec.id, why) for spec in found.servers if spec.command and (why := _absent(spec))]
    finding = "\n".join([finding, *(f"{id}: {why.args[0]} {why.hint}".rstrip() for id, why in absent)])
    if absent or any(one.status == "invalid" for one in found.excluded) or found.problems:
        return _problem(finding, "Correct what is named; docs/configurations.md says what is read.")
    return _ok(finding)


def _absent(spec: ServerSpec) -> UnreachableError | None:
    """Why the program of a server cannot be started, where that shows without starting it."""
    from workbench.events import UnreachableError
    from workbench.registry.processes.child_environment import find_program

    try:
        find_program(spec.command[0], {"PATH": spec.env.get("PATH", os.environ.get("PATH", os.defpath))})
    except UnreachableError as e:
        return e
    return None


def _profiles(settings: Settings) -> SecurityCheck:
    from workbench.gateway.profile_file import read_profiles
    from workbench.gateway.profiles import place_of

    path = place_of(settings)
    if path is None:
        return _ok("none written", "`workbench profiles --help` shows how to give some clients only some tools.")
    return _ok(f"{', '.join(read_profiles(path).profiles) or 'none'} in {path}")


def _data(settings: Settings) -> SecurityCheck:
    if settings.data is None:
        return _ok("no folder of tables", "`workbench up --data FOLDER` serves CSV, Parquet and JSON files.")
    if not settings.data.is_dir():
        return _problem(f"{settings.data} is no folder.", "Point the setting data to a folder.")
    return _ok(f"{counted(sum(1 for p in settings.data.rglob('*') if p.is_file()), 'file')} in {settings.data}")


def _secrets(settings: Settings) -> SecurityCheck:
    found = secret_origins(settings)
    broken = [f"{each.reference}: {each.problem}" for each in found if not each.source]
    if broken:
        return _problem("; ".join(broken), f"Looked for in {', '.join(settings.secrets)}, see docs/access.md.")
    named = ", ".join(f"{each.reference} from {each.source}" for each in found)
    return _ok(named or "none is named by reference", "`secret:NAME` stands for one; see docs/access.md.")


def _answers(settings: Settings) -> SecurityCheck:
    from workbench.agent.provider_choice import Chooser
    from workbench.provider_table import ladder

    chooser = Chooser(settings)
    if chooser.env_file is not None and chooser.env_file.problem:
        return _problem(chooser.env_file.summary(), "Fix the file, or move it away.")
    statuses = chooser.statuses()
    first = next((s for s in statuses if s.ready), None)
    if first is None:
        keys = [row.keys[0] for row in ladder() if row.chosen_by == "key"]
        return _problem("nobody can answer questions.", f"Set one of {', '.join(keys)}.")
    hint = "" if first.is_llm else "`workbench model pull` brings a small language model; a provider's key a large one."
    return _ok(f"{first.name}: {first.why}", hint)
