"""Every write and every sync of the record fails once, at each place: what was acknowledged is there all the same."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.audit import Reader, verify
from workbench.audit.format.folder import AuditFolder
from workbench.audit.lake.compactor import Compactor
from workbench.audit.write.recovery import recover
from workbench.events import NotRecordedError

_WRITES = ("write",)
_SYNCS = ("fsync", "fdatasync")


class FaultyDisk:
    """Fails one operation on the files of a folder, and every later one when it is broken for good.

    Args:
        root: the files below it are meant.
        operations: names in `os` that may fail.
        at: how many of them succeed before.
        code: what the failing one says.
        short: whether half of the bytes are still taken before a write fails.
        forever: whether everything after it fails as well.
    """

    def __init__(
        self, root: Path, operations: tuple[str, ...], at: int, code: int, *, short: bool = False, forever: bool = False
    ) -> None:
        self.failed = 0
        self._root, self._operations, self._at, self._code = str(root), operations, at, code
        self._short, self._forever = short, forever
        self._count = itertools.count()
        self._real = {name: getattr(os, name) for name in operations}

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in self._operations:
            monkeypatch.setattr(os, name, self._wrapped(name))

    def _wrapped(self, name: str) -> Callable[..., object]:
        real = self._real[name]

        def operation(fd: int, *rest: bytes) -> object:
            if not os.readlink(f"/proc/self/fd/{fd}").startswith(self._root):
                return real(fd, *rest)
            number = next(self._count)
            if number < self._at or (self.failed and not self._forever):
                return real(fd, *rest)
            self.failed += 1
            if self._short and self.failed == 1 and len(rest[0]) > 1:
                return real(fd, rest[0][: len(rest[0]) // 2])
            raise OSError(self._code, os.strerror(self._code))

        return operation


def lines_in_lineage(home: Path) -> list[str]:
    return [
        line.split('"event_id":"')[1][:36]
        for path in AuditFolder(home).lineages()
        for line in path.read_text().splitlines()
    ]


def assert_nothing_lost(home: Path, acknowledged: list[str]) -> None:
    recover(AuditFolder(home))
    with Reader(home) as reader:
        found = reader.sql("select event_id from events").column(0).to_pylist()
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)
    assert sorted(lines_in_lineage(home)) == sorted(found)
    result = verify(home, deep=True)
    assert result.ok, str(result)


FAULTS = {
    "a full disk": {"operations": _WRITES, "code": errno.ENOSPC, "forever": True},
    "a disk that fills up within a write": {
        "operations": _WRITES,
        "code": errno.ENOSPC,
        "short": True,
        "forever": True,
    },
    "one write that fails": {"operations": _WRITES, "code": errno.EIO},
    "one sync that fails": {"operations": _SYNCS, "code": errno.EIO},
    "a disk that stops syncing": {"operations": _SYNCS, "code": errno.EIO, "forever": True},
    "a quota that is used up": {"operations": _WRITES, "code": errno.EDQUOT, "forever": True},
}


async def writes(open_log, make_call) -> tuple[list[str], bool]:
    """Ids of what was acknowledged, and whether something was refused; segments are sealed on the way."""
    acknowledged: list[str] = []
    try:
        async with open_log(audit_mode="fsync", audit_segment_bytes=2500) as log:
            for number in range(12):
                records = [make_call(tenant=f"t{number % 2}") for _ in range(1 + number % 3)]
                waiting = [log.put(record["tenant"], record) for record in records]
                results = await asyncio.gather(*waiting, return_exceptions=True)
                for record, result in zip(records, results, strict=True):
                    if isinstance(result, NotRecordedError):
                        continue
                    assert result is None
                    acknowledged.append(record["event_id"])
    except NotRecordedError:
        return acknowledged, True
    return acknowledged, bool(log.failed != "it is closed")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", FAULTS)
async def test_wherever_the_disk_fails_nothing_acknowledged_is_lost_and_nothing_more_is_acknowledged(
    fault, open_log, make_call, tmp_path_factory, settings, monkeypatch
):
    reached = refused = 0
    for at in range(200):
        home = settings.home
        shutil.rmtree(home)
        home.mkdir(mode=0o700)
        disk = FaultyDisk(home / "audit", at=at, **FAULTS[fault])
        with monkeypatch.context() as patch:
            disk.install(patch)
            acknowledged, told = await writes(open_log, make_call)
        assert_nothing_lost(home, acknowledged)
        if not disk.failed:
            assert len(acknowledged) == 24
            break
        reached += 1
        refused += told
    else:
        pytest.fail("there is no end of writing")
    assert reached > 15
    assert refused > 15


async def test_a_log_that_failed_once_acknowledges_nothing_more_though_the_disk_is_well_again(
    open_log, make_call, home, monkeypatch
):
    async with open_log(audit_mode="fsync") as log:
        await log.write("acme", make_call())
        with monkeypatch.context() as patch:
            FaultyDisk(home / "audit", ("fdatasync",), 0, errno.EIO).install(patch)
            with pytest.raises(NotRecordedError, match="Input/output error"):
                await log.write("acme", make_call())
        for _ in range(3):
            with pytest.raises(NotRecordedError, match="Input/output error"):
                log.put("acme", make_call())
    assert_nothing_lost(home, [])


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", ["a full disk", "a disk that stops syncing", "one write that fails"])
async def test_wherever_the_disk_fails_the_compactor_publishes_each_row_once(
    fault, open_log, make_call, home, monkeypatch
):
    async with open_log(audit_segment_bytes=2500) as log:
        for number in range(12):
            await log.write(f"t{number % 2}", make_call(tenant=f"t{number % 2}"))
    kept = home.with_name("kept")
    shutil.copytree(home, kept)
    for at in range(200):
        shutil.rmtree(home)
        shutil.copytree(kept, home)
        disk = FaultyDisk(home / "audit", at=at, **FAULTS[fault])
        with monkeypatch.context() as patch:
            disk.install(patch)
            try:
                Compactor(AuditFolder(home), grace_s=0, batch_bytes=5000).run(today="2999-01-01")
            except OSError:
                assert disk.failed
        assert_nothing_lost(home, [])
        Compactor(AuditFolder(home), grace_s=0).run(today="2999-01-01")
        assert_nothing_lost(home, [])
        if not disk.failed:
            break
    assert at > 8


SMALL_DISK = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import asyncio, writing_child
asyncio.run(writing_child.write_forever(Path({home!r}), "os", 100_000, 0))
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[bytes]]:
    """Runs a shell script where `$DISK` is a file system of two megabytes; it needs no rights, but user namespaces."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]
    mount = f"mount -t tmpfs -o size=2m none {disk}\n"

    def run(script: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*command, mount + script], capture_output=True, timeout=50, check=False)

    if shutil.which("unshare") is None or run("true").returncode:
        pytest.skip("no user namespaces here")
    return run


@pytest.mark.slow
def test_a_disk_that_is_really_full_refuses_and_keeps_what_was_acknowledged(small_disk, tmp_path: Path):
    home = tmp_path / "disk" / "home"
    code = tmp_path / "child.py"
    code.write_text(SMALL_DISK.format(tests=str(Path(__file__).parent), home=str(home)))
    kept = tmp_path / "kept"
    done = small_disk(f"mkdir -m 700 {home}\n{sys.executable} {code}\ncp -a {home} {kept}")
    assert done.returncode == 0, done.stderr.decode()
    # either the guard of the disk space was quicker, or a write failed; nothing is acknowledged after it
    assert re.search(rb"refused .*(must stay free|No space left on device)", done.stdout.splitlines()[-1])
    acknowledged = [line for line in done.stdout.decode().splitlines() if len(line) == 36]
    assert len(acknowledged) > 500
    assert_nothing_lost(kept, acknowledged)
