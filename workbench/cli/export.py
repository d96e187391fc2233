"""`workbench export`: tables of the record as files."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from workbench.bench.clock import microseconds
from workbench.cli.audit import Meter
from workbench.events import Misuse


@click.command()
@click.argument("table", default="calls")
@click.option("--format", "form", type=click.Choice(["csv", "parquet", "jsonl"]), default="csv", show_default=True)
@click.option("--since", metavar="TIME", help="First time, inclusive, e.g. 2026-11-01. UTC.")
@click.option("--until", metavar="TIME", help="Last time, exclusive. Default: now.")
@click.option("--tenant", help="Only this tenant's rows. Default: all.")
@click.option("-o", "output", type=click.Path(dir_okay=False, path_type=Path), help="File; default standard output.")
def export(
    table: str, form: str, since: str | None, until: str | None, tenant: str | None, output: Path | None
) -> None:
    """Export calls, or any other table of the record. The file appears when it is whole; Ctrl-C leaves none.

    \b
    workbench export calls --format parquet --since 2026-11-01 -o calls.parquet
    """
    from workbench.audit.export import export as write
    from workbench.audit.export import export_file
    from workbench.config import Settings, prepare_home

    home = prepare_home(Settings.load(home=click.get_current_context().obj.get("home")).home)
    meter = Meter("rows")
    options = {
        "table": table,
        "format": form,
        "since_us": microseconds(since),
        "until_us": microseconds(until),
        "tenant": tenant,
        "progress": meter,
    }
    if output is None:
        if form == "parquet" and sys.stdout.isatty():
            raise Misuse("Parquet is not for terminals.", hint="Name a file with -o.")
        rows = write(home, sys.stdout.buffer, **options)  # type: ignore[arg-type]
    else:
        rows = export_file(home, output, **options)
    meter.close()
    click.echo(f"{rows} rows{f' in {output}' if output else ''}", err=True)
