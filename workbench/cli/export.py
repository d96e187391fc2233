"""`workbench export`: tables of the record as files."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import click

from workbench.cli.audit import ProgressMeter
from workbench.cli.context import opened
from workbench.events import MisuseError
from workbench.platform.timestamps import microseconds


@click.command()
@click.argument("table", default="calls")
@click.option(
    "--format", "form", type=click.Choice(["csv", "parquet", "jsonl"]), default="csv", show_default=True,
    help="Format of the file.",
)  # fmt: skip
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
    from workbench.config import Settings, prepare_home

    if output is None and form == "parquet" and sys.stdout.isatty():
        raise MisuseError("Parquet is not for terminals.", hint="Name a file with -o.")
    settings = Settings.load(home=click.get_current_context().obj.get("home"))
    if settings.url:
        _export_elsewhere(table, form, since, until, tenant, output)
        return
    from workbench.audit.query.export import export as write
    from workbench.audit.query.export import export_file

    home, meter = prepare_home(settings.home), ProgressMeter("rows")
    options = {
        "table": table,
        "format": form,
        "since_us": microseconds(since),
        "until_us": microseconds(until),
        "tenant": tenant,
        "progress": meter,
    }
    if output is None:
        rows = write(home, sys.stdout.buffer, **options)  # type: ignore[arg-type]
    else:
        rows = export_file(home, output, **options)
    meter.close()
    click.echo(f"{rows} rows{f' in {output}' if output else ''}", err=True)


def _export_elsewhere(
    table: str, form: str, since: str | None, until: str | None, tenant: str | None, output: Path | None
) -> None:
    """From a platform elsewhere, which sends the rows of the tenant of the token."""
    if tenant is not None:
        raise MisuseError("--tenant cannot be given to a platform elsewhere.", hint="It sends what the token may see.")
    with opened() as bench, tempfile.TemporaryDirectory(prefix="workbench-export-") as folder:
        target = output or Path(folder) / "export"
        path = bench.export(target, table, format=form, since=since, until=until)  # type: ignore[arg-type]
        size = path.stat().st_size
        if output is None:
            with path.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
    click.echo(f"{size:,} bytes{f' in {output}' if output else ''}", err=True)
