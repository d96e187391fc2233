"""`workbench audit`: is the record what it was, prove one call of it, keep a witness."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from workbench.cli.context import as_json, local_settings, print_json, typed
from workbench.events import MisuseError
from workbench.platform.timestamps import microseconds

if TYPE_CHECKING:
    from workbench.config import Settings

_PROGRESS_AFTER_S = 0.5


@click.group()
def audit() -> None:
    """Verify the record, prove a call, apply retention, copy and restore the record."""


def _settings() -> Settings:
    from workbench.config import prepare_home

    settings = local_settings("`workbench audit`")
    prepare_home(settings.home)
    return settings


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, instead of tearing the work apart."""
    asked = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


class ProgressMeter:
    """Progress on standard error: rewritten in place on a terminal, else a line for every tenth."""

    def __init__(self, unit: str = "bytes") -> None:
        self._unit = unit
        self._began = time.monotonic()
        self._shown = -1

    def __call__(self, done: int, total: int) -> None:
        percent = 100 * done // max(total, 1)
        step = percent if sys.stderr.isatty() else percent // 10 * 10
        if step == self._shown or time.monotonic() - self._began < _PROGRESS_AFTER_S:
            return
        self._shown = step
        text = f"{step:3d} % of " + (f"{total / 1e6:,.0f} MB" if self._unit == "bytes" else f"{total:,} {self._unit}")
        click.echo(f"\r{text}" if sys.stderr.isatty() else text, err=True, nl=not sys.stderr.isatty())

    def close(self) -> None:
        """Leave the line of the terminal empty."""
        if self._shown >= 0 and sys.stderr.isatty():
            click.echo("\r\033[K", err=True, nl=False)


@audit.command()
@click.option("--deep", is_flag=True, help="Check every line of every chain, not only sealed files.")
@click.option("--since", metavar="TIME", help="Check only what was sealed since then; signatures cover all.")
@click.option("--witness", metavar="PLACE", help="Folder or URL of a witness. Default: the setting audit_witness.")
@click.option(
    "--witness-key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File witness.pub of the witness: require its signature. Default: the setting audit_witness_key.",
)
@as_json
@click.pass_context
def verify(
    ctx: click.Context, deep: bool, since: str | None, witness: str | None, witness_key: Path | None, as_json: bool
) -> None:
    """Check that nothing was altered or removed; names the first bad record. Exit code 1 when something was."""
    from workbench.audit import verify as check
    from workbench.audit.write.witness import read_witness_key

    settings, meter = _settings(), ProgressMeter()
    with _interruptible() as asked:
        found = check(
            settings.home,
            deep=deep,
            since_us=microseconds(since),
            witness=witness or settings.audit_witness or None,
            witness_key=read_witness_key(witness_key or settings.audit_witness_key),
            progress=meter,
            cancel=asked.is_set,
        )
    meter.close()
    if as_json:
        print_json(found)
    else:
        click.echo(str(found))
    ctx.exit(130 if found.cancelled else 0 if found.ok else 1)


@audit.command()
@click.argument("name", metavar="ID")
@as_json
def find(name: str, as_json: bool) -> None:
    """Show everything that is recorded of one trace, one call or one run, oldest first."""
    from workbench.audit import Reader
    from workbench.cli.tables import print_rows, print_rows_json

    with Reader(_settings().home) as reader:
        found = reader.events_of(None, name)
    if as_json:
        print_rows_json(found)
    elif found.num_rows:
        shown = ["ts", "kind", "tenant", "user_id", "qualified", "outcome", "latency_us", "request_id", "trace_id"]
        print_rows(found.select(shown))
    else:
        raise MisuseError(
            f"Nothing on the record has the id {name!r}.", hint="Expected the id of a trace, a call or a run."
        )


@audit.command()
@click.argument("call_id")
@click.option("-o", "output", type=click.Path(dir_okay=False, path_type=Path), help="File; default standard output.")
def prove(call_id: str, output: Path | None) -> None:
    """Write a proof that one call is on the record; it is checked offline and reveals no other call."""
    import json

    from workbench.audit.verification.proof import prove as proof_of

    text = json.dumps(proof_of(_settings().home, call_id), ensure_ascii=False, indent=1) + "\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        click.echo(typed(f"{output}: check it anywhere with `workbench audit check {output}`."), err=True)


@audit.command("check")
@click.argument("file", type=click.File("rb"))
@click.option("--key", type=click.File("r"), help="checkpoint.pub as you know it; default: the key in the proof.")
@as_json
def check_file(file: IO[bytes], key: IO[str] | None, as_json: bool) -> None:
    """Check a proof. Needs neither the record nor a network; exit code 2 when it proves nothing."""
    import orjson

    from workbench.audit.verification.proof import check_proof

    try:
        proof = orjson.loads(file.read())
    except orjson.JSONDecodeError as e:
        raise MisuseError(f"This is no proof: {e}.", hint="Expected what `workbench audit prove` wrote.") from e
    records = check_proof(proof, key.read() if key else None)
    if as_json:
        print_json(records)
        return
    for record in records:
        click.echo(f"Proved: {record['kind']} {record['request_id']} of {record['tool']} by {record['user']}")
        click.echo(f"  at {_when(record['timestamp'])}, outcome {record.get('outcome', 'not recorded')}")
    if key is None:
        click.echo("Signed by the key in the proof; compare it with one you trust: --key checkpoint.pub.", err=True)


def _when(us: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="milliseconds")


@audit.command()
@click.option("--dry-run", is_flag=True, help="Print what would be removed; remove nothing.")
@as_json
def retain(dry_run: bool, as_json: bool) -> None:
    """Remove what is older than `retention.toml` in the state folder allows. A running platform does so once a day.

    The seals keep the proof of what was removed and by which rule; `audit verify` says so.
    """
    import asyncio

    from workbench.audit.format.folder import AuditFolder
    from workbench.audit.lake.retention import FILE, RetentionRules, enforce, plan

    settings = _settings()
    rules = RetentionRules.read(settings.home)
    if rules == RetentionRules():
        raise MisuseError(
            f"There are no rules: {settings.home / FILE} is missing or empty.",
            hint="Write e.g. `default = 365` and below `[tenants]` the line `acme = 30`: days to keep.",
        )
    removals = plan(AuditFolder(settings.home), rules) if dry_run else asyncio.run(enforce(settings))
    if as_json:
        print_json([{"tenant": removal.tenant, **removal.summary()} for removal in removals])
        return
    for removal in removals:
        click.echo(str(removal))
    done = "would be removed" if dry_run else "removed"
    click.echo(f"{sum(removal.rows for removal in removals)} rows {done}.", err=True)


@audit.command()
@click.argument("store")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--key", type=click.File("r"), help="checkpoint.pub as you know it; default: the key in the store.")
@click.pass_context
def fetch(ctx: click.Context, store: str, folder: Path, key: IO[str] | None) -> None:
    """Rebuild a record from the place that audit_store names, in a new state folder, and verify it."""
    from workbench.audit import verify as check
    from workbench.audit.lake.replication import fetch as rebuild
    from workbench.audit.lake.segment_store import open_store

    rebuild(open_store(store), folder, key.read() if key else None)
    found = check(folder, deep=True)
    click.echo(str(found))
    ctx.exit(0 if found.ok else 1)


@audit.command()
@click.argument("user")
@click.option("--tenant", help="Tenant of the user. Default: the setting tenant.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(user: str, tenant: str | None, yes: bool) -> None:
    """Destroy the keys of one person, for good: what they asked and got stays on the record, unreadable.

    Works on what was recorded with the setting audit_encrypt. The record still verifies.
    """
    import asyncio

    from workbench.audit.lake.erasure import forget as destroy

    settings = _settings()
    tenant = tenant or settings.tenant
    if not yes:
        click.confirm(f"Make what {user} of {tenant} asked and got unreadable for ever?", abort=True, err=True)
    click.echo(f"{asyncio.run(destroy(settings, tenant, user))} keys destroyed.")


@audit.command()
def refill() -> None:
    """Add the newest records from the sink to a record that was fetched; no platform may run on it meanwhile."""
    from workbench.audit.fleet.postgres_sink import refill as add_missing
    from workbench.audit.format.folder import AuditFolder

    settings = _settings()
    if not settings.audit_sink:
        raise MisuseError("There is no sink.", hint="Set audit_sink.")
    click.echo(f"{add_missing(settings.audit_sink, AuditFolder(settings.home))} records added.")


@audit.command()
@as_json
def publish(as_json: bool) -> None:
    """Publish what is compacted here to the fleet now; a running platform does so once a minute."""
    from workbench.audit.fleet.fleet import publish as publish_files

    changed = publish_files(_settings())
    if as_json:
        print_json({"changed": changed})
    elif changed is None:
        click.echo("The compactor is at work; it will publish.", err=True)
    else:
        click.echo(f"{changed} files came or went.")


@audit.command()
@as_json
def fleet(as_json: bool) -> None:
    """List the gateways whose records are in the fleet's catalog, or on its server."""
    from workbench.audit.fleet.fleet import members as members_of

    members = members_of(_settings())
    if as_json:
        print_json(members)
    else:
        for member in members:
            click.echo(
                f"{member.root or 'on the server'}  {member.files} files, {member.rows} rows, key {member.owner}"
            )


@audit.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--trust", multiple=True, required=True, type=click.File("r"), help="File checkpoint.pub of a record to accept."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8810, show_default=True, help="Port to listen on.")
def witness(folder: Path, trust: tuple[IO[str], ...], host: str, port: int) -> None:
    """Serve as a witness: store checkpoints of other machines, and refuse histories that contradict them."""
    from workbench.audit.verification.witness_server import CheckpointStore, WitnessServer

    store = CheckpointStore(folder, [key.read() for key in trust])
    with WitnessServer(store, host, port) as server:
        click.echo(f"Set WORKBENCH_AUDIT_WITNESS={server.url} for the platform; Ctrl-C stops the witness.", err=True)
        click.echo(f"Its key is in {store.public_key}: give it to whoever verifies (audit_witness_key).", err=True)
        server.serve_forever()
