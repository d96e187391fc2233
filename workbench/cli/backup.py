"""`workbench backup` and `workbench restore`: a whole state folder in one archive, and back, verified."""

from __future__ import annotations

from pathlib import Path

import click

from workbench.cli.context import as_json, local_settings, print_json


@click.command()
@click.argument("archive", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--check/--no-check", default=True, help="Restore it into a temporary folder and verify everything.")
@as_json
def backup(archive: Path, check: bool, as_json: bool) -> None:
    """Write the state folder into ARCHIVE (.tar.gz), also while a platform runs on it.

    The archive holds keys and tokens: it is readable by its owner alone, and belongs where only they can reach it.
    """
    from workbench.cli.audit import ProgressMeter
    from workbench.state.backup import back_up, try_restore
    from workbench.version import __version__

    settings = local_settings("`workbench backup`")
    meter = ProgressMeter()
    manifest = back_up(settings.home, archive, version=__version__, progress=meter)
    meter.close()
    found = try_restore(archive) if check else None
    if as_json:
        print_json({"archive": str(archive), "files": len(manifest.files), "bytes": manifest.bytes, "checked": check})
        return
    click.echo(f"{archive}: {len(manifest.files)} files, {manifest.bytes / 1e6:,.1f} MB of state.")
    if found is not None:
        click.echo(f"Restored for a trial: {found.databases} databases are whole. {found.record}")
    if settings.database_url:
        click.secho(
            "Keys, approvals and pins are in the Postgres of database_url: use pg_dump for them.",
            fg="yellow",
            err=True,
        )


@click.command()
@click.argument("archive", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--check", is_flag=True, help="Only try: restore into a temporary folder, verify, and remove it.")
@click.option("--deep", is_flag=True, help="Also check the chain of every recorded line.")
@as_json
def restore(archive: Path, check: bool, deep: bool, as_json: bool) -> None:
    """Make the state folder that ARCHIVE holds; the folder (--home) must be missing or empty.

    Everything is verified before it is put into place. Never run a restored folder beside the one that it was taken
    from: their records would contradict each other.
    """
    from workbench.cli.audit import ProgressMeter
    from workbench.state.backup import restore as put_back
    from workbench.state.backup import try_restore

    settings = local_settings("`workbench restore`")
    meter = ProgressMeter()
    if check:
        found = try_restore(archive, deep=deep, progress=meter)
    else:
        found = put_back(archive, settings.home, deep=deep, progress=meter)
    meter.close()
    if as_json:
        print_json(
            {
                "home": None if check else str(settings.home), "created": found.manifest.created,
                "version": found.manifest.version, "files": len(found.manifest.files), "record": found.record,
            }
        )  # fmt: skip
        return
    where = "The archive can be restored" if check else f"{settings.home} is restored"
    about = f"of {found.manifest.created}, written by version {found.manifest.version}"
    click.echo(f"{where} ({about}): {len(found.manifest.files)} files, {found.databases} databases. {found.record}")
