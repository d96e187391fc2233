"""`python -m workbench.audit.compact HOME [--every SECONDS]`: the compactor as a process of low priority."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import os
import signal
import sys
import threading
import time
from pathlib import Path

from workbench.audit.fleet.fleet import publish
from workbench.audit.format.folder import AuditFolder
from workbench.audit.lake.compactor import GRACE_S, CompactionResult, Compactor
from workbench.audit.lake.manifest import Manifest
from workbench.audit.lake.retention import FILE, enforce
from workbench.audit.query.views_file import write_views_file
from workbench.audit.write.seals import Witness
from workbench.config import Settings
from workbench.events import WorkbenchError

RETENTION_INTERVAL_S = 24 * 3600.0
"""How often the rules of retention are applied, besides at the start."""


def compact(home: Path, *, grace_s: float = GRACE_S, witness: Witness | None = None) -> CompactionResult | None:
    """Publish everything that is sealed, once. None when another compactor is at work.

    Args:
        home: the state folder.
        grace_s: seconds before files that count no more are removed.
        witness: folder for copies of the signed checkpoints.

    Raises:
        LakeRefusedError: a segment is not what its seal says.
        OSError: the disk says no.
    """
    folder = AuditFolder(home)
    done = Compactor(folder, grace_s=grace_s, witness=witness).run()
    write_views_file(folder)
    return done


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit code: 0, or 1 when something could not be published."""
    parser = argparse.ArgumentParser(prog="workbench.audit.compact", description="Compact the record to Parquet.")
    parser.add_argument("home", type=Path, help="the state folder")
    parser.add_argument("--every", type=float, default=0.0, metavar="SECONDS", help="stay and repeat")
    parser.add_argument("--grace", type=float, default=GRACE_S, metavar="SECONDS", help="keep replaced files so long")
    parser.add_argument("--witness", type=Path, default=None, help="folder for copies of signed checkpoints")
    given = parser.parse_args(arguments)
    if not given.every:
        return _once(given)
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        _repeat(given, stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _repeat(given: argparse.Namespace, stop: threading.Event) -> None:
    """Until it is told to stop, or the process that launched it is gone."""
    parent = os.getppid()
    retained = -RETENTION_INTERVAL_S
    while os.getppid() == parent:
        _once(given)
        _ship(given.home)
        _announce(given.home)
        if time.monotonic() - retained >= RETENTION_INTERVAL_S:
            retained = time.monotonic()
            _retain(given.home)
        if stop.wait(given.every):
            break


def _retain(home: Path) -> None:
    """Remove what the rules of retention say; what is wrong is said, and tried again the next day."""
    if not (home / FILE).exists():
        return
    try:
        for removal in asyncio.run(enforce(Settings.load(home=home))):
            print(f"retention: {removal}", flush=True)
    except (WorkbenchError, OSError) as e:
        print(f"retention: {e}", file=sys.stderr, flush=True)


def _ship(home: Path) -> None:
    """Copy what is sealed to the store of the setting; what is wrong is said, and tried again the next time."""
    from workbench.audit.lake.replication import ship
    from workbench.audit.lake.segment_store import open_store

    try:
        target = Settings.load(home=home).audit_store
        announce = functools.partial(_announce, home)
        if target and (done := ship(AuditFolder(home), open_store(target), announce)) and done.seals:
            print(f"store: {done.seals} seals, {done.objects} objects", flush=True)
        if target and (sink := Settings.load(home=home).audit_sink):
            from workbench.audit.fleet.postgres_sink import trim

            trim(sink, AuditFolder(home), open_store(target))
    except (WorkbenchError, OSError) as e:
        print(f"store: {e}", file=sys.stderr, flush=True)


def _announce(home: Path, manifest: Manifest | None = None) -> None:
    """Let the fleet have what is compacted; what is wrong is said, and tried again the next time.

    Args:
        manifest: the files that count; default those that count now.
    """
    try:
        settings = Settings.load(home=home)
        shared = settings.audit_catalog or settings.audit_engine
        if shared and (changed := publish(settings, manifest)):
            print(f"fleet: {changed} files came or went", flush=True)
    except (WorkbenchError, OSError) as e:
        print(f"fleet: {e}", file=sys.stderr, flush=True)


def _once(given: argparse.Namespace) -> int:
    try:
        done = compact(given.home, grace_s=given.grace, witness=given.witness)
    except (WorkbenchError, OSError) as e:
        print(f"compactor: {e}", file=sys.stderr, flush=True)
        return 1
    if done is None:
        print("compactor: another one is at work", file=sys.stderr, flush=True)
    elif done.segments or done.merged_days:
        print(f"compactor: {done.rows} rows of {done.segments} segments, {done.merged_days} days merged", flush=True)
    return 0


if __name__ == "__main__":
    with contextlib.suppress(OSError):
        os.nice(10)  # here, so that a program that calls `main` keeps its own priority
    sys.exit(main())
