"""`audit.duckdb` is what people open: views in it that hide rows are found out and written anew."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from workbench.audit.format.folder import AuditFolder
from workbench.audit.query.views_file import views_difference, write_views_file
from workbench.audit.verification.verifier import verify

TAMPERING = {
    "rows are hidden": "CREATE OR REPLACE VIEW tool_calls AS SELECT * FROM events WHERE user_id <> 'ann'",
    "all rows are hidden": "CREATE OR REPLACE VIEW events AS SELECT * FROM live WHERE false",
    "the files are others": "CREATE OR REPLACE VIEW live AS SELECT * FROM read_parquet('/nowhere/*.parquet')",
    "a view is gone": "DROP VIEW decisions",
    "a table stands in its place": "DROP VIEW decisions; CREATE TABLE decisions (ts TIMESTAMP)",
    "something is added": "CREATE TABLE notes (text VARCHAR)",
    "a function is put over another": "CREATE MACRO parse_filename(x) AS 'nothing'",
}


@pytest.fixture
async def written(open_log: Any, make_call: Any, home: Path) -> AuditFolder:
    async with open_log() as log:
        await log.write("acme", make_call(user="ann"))
        await log.write("acme", make_call(user="bob"))
    folder = AuditFolder(home)
    assert write_views_file(folder)
    return folder


@pytest.mark.parametrize("how", TAMPERING)
async def test_a_file_that_was_tampered_with_is_named_and_written_anew(written: AuditFolder, how: str) -> None:
    assert verify(written.home).ok
    with duckdb.connect(str(written.views)) as connection:
        try:
            connection.execute(TAMPERING[how])
        except duckdb.Error:
            connection.execute(TAMPERING["all rows are hidden"])
    found = verify(written.home)
    assert not found.ok
    assert [finding.where for finding in found.findings] == ["audit.duckdb"]
    assert write_views_file(written) is True
    assert verify(written.home).ok
    assert write_views_file(written) is False
    with duckdb.connect(str(written.views), read_only=True) as client:
        assert client.execute("select count(*) from tool_calls").fetchone() == (2,)


async def test_what_is_no_database_is_named(written: AuditFolder) -> None:
    written.views.write_bytes(b"nonsense" * 1000)
    (finding,) = verify(written.home).findings
    assert (finding.where, "cannot be read" in finding.message) == ("audit.duckdb", True)
    assert write_views_file(written) is True


async def test_a_folder_that_was_moved_is_no_tampering(written: AuditFolder, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(written.home, moved)
    found = verify(moved)
    assert found.ok
    assert str(written.root) in found.notes[0]
    assert write_views_file(AuditFolder(moved)) is True
    assert views_difference(AuditFolder(moved)) is None


async def test_a_record_without_the_file_is_whole(written: AuditFolder) -> None:
    written.views.unlink()
    assert verify(written.home).ok


async def test_the_owner_alone_reads_it_also_where_an_earlier_version_wrote_it(written: AuditFolder) -> None:
    beside = written.root / "views.key"
    assert [path.stat().st_mode & 0o077 for path in (written.views, beside)] == [0, 0]
    beside.chmod(0o644)
    assert write_views_file(written) is False
    assert beside.stat().st_mode & 0o077 == 0
