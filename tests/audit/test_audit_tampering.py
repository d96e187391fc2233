"""Whoever alters the record is found out, and the place is named."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from workbench.audit import AuditLog, Verification, verify
from workbench.audit.format.checkpoint import Signer
from workbench.audit.format.folder import AuditFolder
from workbench.audit.format.hash_chain import genesis
from workbench.audit.format.merkle_tree import root_of
from workbench.audit.format.record_keys import join_rotations, read_rotations, statement_body
from workbench.audit.lake.compactor import Compactor
from workbench.audit.lake.manifest import Manifest
from workbench.audit.write.seals import SealLog, read_seals
from workbench.events import MisuseError


@pytest.fixture
async def recorded(open_log, make_call, home: Path, tmp_path: Path) -> AuditFolder:
    """Two writers, two tenants, several segments each; the first writer's are compacted, and the key was replaced twice
    between them. The witness saw it all."""
    for round in range(2):
        async with open_log(audit_segment_bytes=6000, witness=tmp_path / "witness") as log:
            for number in range(24):
                tenant = f"t{number % 2}"
                await log.write(tenant, make_call(tenant=tenant, arguments={"n": number}))
        if round == 0:
            Compactor(AuditFolder(home), witness=tmp_path / "witness").run()
            shutil.copy(AuditFolder(home).key, tmp_path / "first.key")
            for _ in range(2):
                assert list(SealLog(AuditFolder(home), tmp_path / "witness").replace_key())
    assert verify(home, deep=True, witness=tmp_path / "witness").ok
    return AuditFolder(home)


def writers(folder: AuditFolder) -> list[str]:
    return sorted({path.stem for path in folder.lineages()})


def lineage(folder: AuditFolder, writer: int = 0, tenant: str = "t0") -> Path:
    return folder.lineage_of(tenant, writers(folder)[writer])


def edit_lines(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def rechain(lines: list[bytes], tenant: str, writer: str) -> list[bytes]:
    """What somebody who knows the format does: number and chain the lines anew."""
    head, out = genesis(tenant, writer), []
    for seq, line in enumerate(lines):
        rest = re.sub(rb'^\{"seq":\d+,"prev":"[0-9a-f]{64}",', b"", line[:-1])
        new = b'{"seq":%d,"prev":"%b",%b' % (seq, head.encode(), rest)
        head = hashlib.sha256(new).hexdigest()
        out.append(new + b"\n")
    return out


# --- the attacks: each takes the folder, and returns what verify must name ------------------------


def edit_a_value(folder: AuditFolder) -> tuple[str, int | None]:
    path = lineage(folder)
    edit_lines(path, lambda lines: [*lines[:5], lines[5].replace(b'"outcome":"ok"', b'"outcome":"no"'), *lines[6:]])
    return str(path.name), 5


def edit_the_last_line(folder: AuditFolder) -> tuple[str, int | None]:
    path = lineage(folder)
    edit_lines(path, lambda lines: [*lines[:-1], lines[-1].replace(b'"user":"ann"', b'"user":"bob"')])
    return str(path.name), 11


def delete_a_line(folder: AuditFolder) -> tuple[str, int | None]:
    path = lineage(folder)
    edit_lines(path, lambda lines: [*lines[:4], *lines[5:]])
    return str(path.name), 4


def insert_a_line(folder: AuditFolder) -> tuple[str, int | None]:
    path = lineage(folder)
    edit_lines(path, lambda lines: [*lines[:4], lines[3], *lines[4:]])
    return str(path.name), 4


def reorder_lines(folder: AuditFolder) -> tuple[str, int | None]:
    path = lineage(folder)
    edit_lines(path, lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]])
    return str(path.name), 2


def cut_the_end(folder: AuditFolder) -> tuple[str, int | None]:
    path = lineage(folder, 1)
    edit_lines(path, lambda lines: lines[:-1])
    return str(path.name), 11


def append_a_forged_line(folder: AuditFolder) -> tuple[str, int | None]:
    path = lineage(folder)
    writer = path.stem
    edit_lines(path, lambda lines: rechain([*lines, lines[-1]], "t0", writer))
    return str(path.name), 12


def edit_and_rechain(folder: AuditFolder) -> tuple[str, int | None]:
    path = lineage(folder)
    edit_lines(path, lambda lines: rechain([lines[0].replace(b"ann", b"bob"), *lines[1:]], "t0", path.stem))
    return str(path.name), None


def move_lines_to_another_tenant(folder: AuditFolder) -> tuple[str, int | None]:
    path = lineage(folder, tenant="t1")
    shutil.copyfile(lineage(folder, tenant="t0"), path)
    return str(path.name), 0


def delete_a_lineage(folder: AuditFolder) -> tuple[str, int | None]:
    lineage(folder).unlink()
    return str(lineage(folder, 0, "t1").name), 0


def reseal(folder: AuditFolder, seals: list[dict]) -> None:
    folder.seals.write_bytes(b"".join(orjson.dumps(seal) + b"\n" for seal in seals))


def cut_the_end_and_fix_the_seal(folder: AuditFolder) -> tuple[str, int | None]:
    path = lineage(folder, 1)
    edit_lines(path, lambda lines: lines[:-1])
    content = path.read_bytes()
    seals = [seal for _, seal in read_seals(folder)]
    states = [
        s for seal in seals if seal["type"] == "segment" for s in seal["lineage"] if s["file"].endswith(path.name)
    ]
    mine = [s for s in states if s["tenant"] == "t0"]
    start = mine[-2]["bytes"]
    last = content.splitlines()[-1]
    mine[-1].update(
        seq=mine[-1]["seq"] - 1,
        rows=mine[-1]["rows"] - 1,
        bytes=len(content),
        head=hashlib.sha256(last).hexdigest(),
        sha256=hashlib.sha256(content[start:]).hexdigest(),
    )
    reseal(folder, seals)
    return "seals.jsonl", None


def delete_the_newest_segment(folder: AuditFolder) -> tuple[str, int | None]:
    seals = [seal for _, seal in read_seals(folder)]
    (folder.wal / seals[-1]["segment"]).unlink()
    reseal(folder, seals[:-1])
    return "seals.jsonl", None


def delete_a_whole_writer(folder: AuditFolder) -> tuple[str, int | None]:
    gone = writers(folder)[1]
    for path in [*folder.lineages(), *(path for _, _, path in folder.segments())]:
        if path.name.startswith(gone):
            path.unlink()
    reseal(folder, [seal for _, seal in read_seals(folder) if seal.get("writer") != gone])
    return "seals.jsonl", None


def rewrite_everything_without_the_key(folder: AuditFolder) -> tuple[str, int | None]:
    for path in folder.lineages():
        tenant = path.parent.name.removeprefix("tenant=")
        edit_lines(path, lambda lines, t=tenant, w=path.stem: rechain([x.replace(b"ann", b"eve") for x in lines], t, w))
    seals = []
    starts: dict[str, int] = {}
    for _, seal in read_seals(folder):
        for state in seal.get("lineage", []):
            content = (folder.lineage / state["file"]).read_bytes()
            start = starts.get(state["file"], 0)
            starts[state["file"]] = state["bytes"]
            lines = content[: state["bytes"]].splitlines()
            state["sha256"] = hashlib.sha256(content[start : state["bytes"]]).hexdigest()
            state["head"] = hashlib.sha256(lines[-1]).hexdigest()
        seals.append(seal)
    reseal(folder, seals)
    return "seals.jsonl", None


def edit_a_live_segment(folder: AuditFolder) -> tuple[str, int | None]:
    path = folder.segments()[-1][2]
    edit_lines(path, lambda lines: [*lines[:1], lines[1].replace(b'"ok"', b'"no"'), *lines[2:]])
    return path.name, json.loads(path.read_bytes().splitlines()[1])["seq"]


def cut_a_live_segment(folder: AuditFolder) -> tuple[str, int | None]:
    path = folder.segments()[-1][2]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    return path.name, json.loads(lines[-1])["seq"]


def delete_a_live_segment(folder: AuditFolder) -> tuple[str, int | None]:
    path = folder.segments()[-1][2]
    path.unlink()
    return path.name, None


def forge_a_segment(folder: AuditFolder) -> tuple[str, int | None]:
    path = folder.segments()[-1][2]
    forged = folder.segment("f" * 24, 0)
    shutil.copyfile(path, forged)
    return forged.name, None


def forge_a_lineage(folder: AuditFolder) -> tuple[str, int | None]:
    path = folder.lineage_of("t0", "f" * 24)
    shutil.copyfile(lineage(folder), path)
    return path.name, 0


def edit_a_lake_file(folder: AuditFolder) -> tuple[str, int | None]:
    import duckdb

    part = next(folder.lake.glob("*/*.parquet"))
    changed = part.with_name("changed")
    duckdb.execute(f"copy (select * replace ('denied' as outcome) from '{part}') to '{changed}' (format parquet)")
    changed.replace(part)
    return part.name, None


def delete_a_lake_file(folder: AuditFolder) -> tuple[str, int | None]:
    part = next(folder.lake.glob("*/*.parquet"))
    part.unlink()
    return part.name, None


def drop_a_file_from_the_manifest(folder: AuditFolder) -> tuple[str, int | None]:
    manifest = Manifest.read(folder)
    manifest.parts.clear()
    manifest.publish(folder)
    return "MANIFEST.json", None


def add_a_file_to_the_manifest(folder: AuditFolder) -> tuple[str, int | None]:
    manifest = Manifest.read(folder)
    part = next(folder.lake.glob("*/*.parquet"))
    shutil.copyfile(part, part.with_name("part-99999999.parquet"))
    manifest.parts.append({**manifest.parts[0], "path": manifest.parts[0]["path"].replace("-00000001", "-99999999")})
    manifest.publish(folder)
    return "part-99999999.parquet", None


def empty_the_manifest(folder: AuditFolder) -> tuple[str, int | None]:
    folder.manifest.write_text("[]")
    return "MANIFEST.json", None


def delete_the_manifest(folder: AuditFolder) -> tuple[str, int | None]:
    folder.manifest.unlink()
    return "MANIFEST.json", None


def delete_the_checkpoint(folder: AuditFolder) -> tuple[str, int | None]:
    folder.checkpoint.unlink()
    return "checkpoint", None


def forge_the_checkpoint(folder: AuditFolder) -> tuple[str, int | None]:
    note = folder.checkpoint.read_text()
    folder.checkpoint.write_text(note.replace("\n", "\n1", 1))
    return "checkpoint", None


def delete_the_public_key(folder: AuditFolder) -> tuple[str, int | None]:
    folder.public_key.unlink()
    return "checkpoint.pub", None


def break_the_public_key(folder: AuditFolder) -> tuple[str, int | None]:
    folder.public_key.write_text("mine+00000000+AAAA")
    return "checkpoint.pub", None


def append_an_unsigned_seal(folder: AuditFolder) -> tuple[str, int | None]:
    with folder.seals.open("ab") as file:
        file.write(b'{"v":1}\n')
    return "seals.jsonl", None


def forge_a_statement(folder: AuditFolder) -> tuple[str, int | None]:
    """As if the first key had lived longer."""
    origin, size, rest = folder.rotations.read_text().split("\n", 2)
    folder.rotations.write_text(f"{origin}\n{int(size) + 100}\n{rest}")
    return "checkpoint.rotations", None


def remove_a_statement(folder: AuditFolder) -> tuple[str, int | None]:
    first, _ = read_rotations(folder.rotations.read_text())
    folder.rotations.write_text(join_rotations([first.checkpoint.note]))
    return "checkpoint.rotations", None


def remove_every_statement(folder: AuditFolder) -> tuple[str, int | None]:
    folder.rotations.unlink()
    return "checkpoint.rotations", None


def put_another_key_before_the_first(folder: AuditFolder) -> tuple[str, int | None]:
    """Somebody's own key, and a statement that the first key of the record followed it."""
    first = read_rotations(folder.rotations.read_text())[0]
    origin, checkpoint = first.checkpoint.origin, first.checkpoint
    theirs = Signer(origin, Ed25519PrivateKey.generate())
    note = statement_body(origin, checkpoint.size, checkpoint.root, theirs.public, first.previous)
    note += "\n" + theirs.signature(note)
    folder.rotations.write_text(join_rotations([note, folder.rotations.read_text()]))
    return "checkpoint.rotations", None


def sign_with_an_old_key_after_its_end(folder: AuditFolder) -> tuple[str, int | None]:
    """Whoever stole the first key adds a seal and signs it."""
    first = read_rotations(folder.rotations.read_text())[0]
    append_an_unsigned_seal(folder)
    stolen = Ed25519PrivateKey.from_private_bytes((folder.home.parent / "first.key").read_bytes())
    entries = folder.seals.read_bytes().splitlines()
    note = Signer(first.checkpoint.origin, stolen).sign(len(entries), root_of(entries)).note
    folder.checkpoint.write_text(note)
    return "checkpoint", None


ATTACKS = [
    edit_a_value,
    edit_the_last_line,
    delete_a_line,
    insert_a_line,
    reorder_lines,
    cut_the_end,
    append_a_forged_line,
    edit_and_rechain,
    move_lines_to_another_tenant,
    delete_a_lineage,
    cut_the_end_and_fix_the_seal,
    delete_the_newest_segment,
    delete_a_whole_writer,
    rewrite_everything_without_the_key,
    edit_a_live_segment,
    cut_a_live_segment,
    delete_a_live_segment,
    forge_a_segment,
    forge_a_lineage,
    edit_a_lake_file,
    delete_a_lake_file,
    drop_a_file_from_the_manifest,
    add_a_file_to_the_manifest,
    empty_the_manifest,
    delete_the_manifest,
    delete_the_checkpoint,
    forge_the_checkpoint,
    delete_the_public_key,
    break_the_public_key,
    append_an_unsigned_seal,
    forge_a_statement,
    remove_a_statement,
    remove_every_statement,
    put_another_key_before_the_first,
    sign_with_an_old_key_after_its_end,
]


DOCUMENT = Path(__file__).parents[2] / "docs" / "audit-format.md"


def documented() -> dict[str, str]:
    """What the table of the document says of each attack."""
    table = DOCUMENT.read_text().split("## What is found out")[1].split("Only a witness")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| ")][1:]
    return {name.strip().replace(" ", "_"): said.strip() for name, _, said in rows}


def test_the_document_names_every_attack_once():
    assert list(documented()) == [attack.__name__ for attack in ATTACKS]


@pytest.mark.parametrize("deep", [False, True], ids=["quick", "deep"])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_every_attack_is_named(attack, deep, recorded: AuditFolder):
    where, seq = attack(recorded)
    found = verify(recorded.home, deep=deep)
    assert not found.ok
    assert documented()[attack.__name__] in str(found)
    named = [finding for finding in found.findings if where in finding.where]
    assert named, [str(finding) for finding in found.findings]
    if seq is not None:
        assert named[0].seq == seq
        assert f"seq {seq}" in str(found)


# --- what only a witness shows --------------------------------------------------------------------


async def test_going_back_to_an_older_state_is_seen_by_the_witness(open_log, make_call, home, tmp_path):
    witness = tmp_path / "witness"
    async with open_log(witness=witness) as log:
        await log.write("acme", make_call())
    shutil.copytree(home, tmp_path / "older")
    async with open_log(witness=witness) as log:
        await log.write("acme", make_call(kind="denied"))
    shutil.rmtree(home)
    shutil.copytree(tmp_path / "older", home)
    assert verify(home, deep=True).ok  # all of it is genuine, only not all of it is there
    found = verify(home, witness=witness)
    assert [f.where for f in found.findings] == ["seals.jsonl"]
    assert "1 of them were removed" in str(found)


async def test_a_past_rewritten_with_another_key_is_seen_by_the_witness(recorded, settings, tmp_path, make_call):
    shutil.rmtree(recorded.root)
    (recorded.home / "control.db").unlink()  # whoever owns the folder can delete this as well
    log = await AuditLog.open(settings.replace(audit_segment_bytes=1))
    for _ in range(20):
        await log.write("t0", make_call(tenant="t0"))
    await log.close()
    assert verify(settings.home, deep=True).ok
    found = verify(settings.home, deep=True, witness=tmp_path / "witness")
    assert not found.ok
    assert "not a checkpoint of this record" in str(found)


async def rewrite(recorded: AuditFolder, kept: dict[Path, bytes], settings, make_call) -> None:
    """Begin the record anew, as somebody does who has these files."""
    shutil.rmtree(recorded.root)
    (recorded.home / "control.db").unlink()  # whoever owns the folder can delete this as well
    recorded.prepare()
    for path, content in kept.items():
        path.write_bytes(content)
    log = await AuditLog.open(settings.replace(audit_segment_bytes=1))
    for _ in range(20):
        await log.write("t0", make_call(tenant="t0"))
    await log.close()


async def test_a_past_rewritten_with_the_key_itself_is_seen_by_the_witness(recorded, settings, tmp_path, make_call):
    await rewrite(recorded, {recorded.key: (tmp_path / "first.key").read_bytes()}, settings, make_call)
    assert verify(settings.home, deep=True).ok
    assert "are not those that" in str(verify(settings.home, witness=tmp_path / "witness"))


async def test_the_newest_key_cannot_rewrite_what_was_before_it(recorded, settings, make_call):
    kept = {path: path.read_bytes() for path in (recorded.key, recorded.public_key, recorded.rotations)}
    await rewrite(recorded, kept, settings, make_call)
    assert "are not those that checkpoint.rotations signs" in str(verify(settings.home))


async def test_a_deleted_record_is_seen_by_the_witness(recorded, tmp_path):
    shutil.rmtree(recorded.root)
    (recorded.home / "control.db").unlink()  # whoever owns the folder can delete this as well
    assert verify(recorded.home).ok
    assert str(verify(recorded.home)) == "Nothing is recorded yet."
    assert not verify(recorded.home, witness=tmp_path / "witness").ok


async def test_the_witness_may_be_a_function(open_log, make_call, home):
    notes: list[str] = []
    async with open_log(witness=notes.append, audit_segment_bytes=1) as log:
        for _ in range(3):
            await log.write("acme", make_call())
    assert len(notes) == 3
    found = verify(home, witness=notes)
    assert (found.ok, found.witnessed, found.signed) == (True, 3, 3)
    assert found.checkpoint == notes[-1]


def test_a_witness_that_is_no_folder_is_refused(tmp_path: Path):
    with pytest.raises(MisuseError, match="is no folder"):
        verify(tmp_path, witness=tmp_path / "nothing")


# --- a past that was tampered with is never signed over ----------------------------------------------


@pytest.mark.parametrize(
    "attack",
    [delete_the_newest_segment, delete_a_whole_writer, forge_the_checkpoint, rewrite_everything_without_the_key],
    ids=lambda attack: attack.__name__,
)
async def test_a_restart_does_not_sign_over_an_altered_past(attack, recorded, open_log, make_call):
    attack(recorded)
    note = recorded.checkpoint.read_text()
    async with open_log(audit_segment_bytes=1) as log:
        for _ in range(20):
            await log.write("t0", make_call(tenant="t0"))
    assert recorded.checkpoint.read_text() == note
    assert not verify(recorded.home).ok


async def test_a_lost_key_is_not_replaced_by_a_new_one(recorded, open_log, make_call):
    recorded.key.unlink()
    async with open_log() as log:
        await log.write("t0", make_call(tenant="t0"))
    assert not recorded.key.exists()
    assert "the last 1 seals are not signed" in str(verify(recorded.home))


async def test_seals_truncated_under_a_running_writer_are_not_signed_over(recorded, open_log, make_call):
    seals = SealLog(recorded)
    seals.append({"v": 1, "type": "lake", "lines": [], "added": [], "removed": [], "manifest_sha256": ""})
    recorded.seals.write_bytes(b"")
    note = recorded.checkpoint.read_text()
    seals.append({"v": 1, "type": "lake", "lines": [], "added": [], "removed": [], "manifest_sha256": ""})
    assert recorded.checkpoint.read_text() == note


# --- how verify behaves --------------------------------------------------------------------------


async def test_verify_reports_progress_and_what_it_read(recorded):
    steps: list[tuple[int, int]] = []
    found = verify(recorded.home, deep=True, progress=lambda done, total: steps.append((done, total)))
    assert found.ok
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1] == found.bytes > 0
    assert found.rows == 48
    assert "48 records" in str(found)


async def test_verify_can_be_cancelled(recorded):
    found = verify(recorded.home, cancel=lambda: True)
    assert (found.ok, found.cancelled) == (False, True)
    assert str(found).startswith("Cancelled")


async def test_verify_may_be_limited_to_what_was_sealed_lately(recorded):
    edit_a_value(recorded)
    newest = max(seal["sealed_us"] for _, seal in read_seals(recorded))
    assert not verify(recorded.home).ok
    assert verify(recorded.home, since_us=newest).ok


async def test_verify_while_the_platform_writes(open_log, make_call, home):
    async with open_log(audit_segment_bytes=5000) as log:
        for number in range(60):
            await log.write("acme", make_call())
            if number % 5 == 0:
                found = verify(home, deep=True)
                assert found.ok, str(found)
    assert verify(home, deep=True).rows == 60


async def test_a_broken_chain_after_the_last_seal_is_named_by_a_deep_check(open_log, make_call, home):
    async with open_log() as log:
        for _ in range(5):
            await log.write("acme", make_call())
        folder = AuditFolder(home)
        async with asyncio.timeout(20):
            while verify(home).unsealed_rows < 5:  # noqa: ASYNC110 - the lineage follows a moment later
                await asyncio.sleep(0.001)
        [path] = folder.lineages()
        edit_lines(path, lambda lines: [*lines[:1], lines[1].replace(b"ann", b"bob"), *lines[2:]])
        found: Verification = verify(home, deep=True)
        assert [finding.seq for finding in found.findings] == [1]


def gone_whole(folder: AuditFolder) -> None:
    shutil.rmtree(folder.root)


def gone_but_for_the_key(folder: AuditFolder) -> None:
    for path in (folder.wal, folder.lineage, folder.lake):
        shutil.rmtree(path)
    for path in (folder.seals, folder.manifest, folder.checkpoint):
        path.unlink()


@pytest.mark.parametrize("remove", [gone_whole, gone_but_for_the_key])
async def test_a_record_that_was_deleted_whole_is_missed(
    recorded: AuditFolder, remove: Callable[[AuditFolder], None]
) -> None:
    seals = len(read_seals(recorded))
    remove(recorded)
    found = verify(recorded.home)
    assert not found.ok
    (finding,) = found.findings
    assert re.search(rf"the record is missing: \d+ records in {seals} seals were there at \d{{4}}-", str(finding))


async def test_a_new_record_does_not_hide_that_the_old_one_was_deleted(
    recorded: AuditFolder, open_log, make_call
) -> None:
    seals = len(read_seals(recorded))
    gone_whole(recorded)
    while len(read_seals(recorded)) <= seals + 1:
        async with open_log() as log:
            await log.write("t0", make_call(tenant="t0"))
        assert not verify(recorded.home).ok
    assert "another record" in str(verify(recorded.home))


async def test_a_folder_that_was_deleted_before_anything_was_sealed_is_missed(open_log, home: Path) -> None:
    async with open_log():
        pass
    assert verify(home).ok
    shutil.rmtree(home / "audit")
    assert "writers were opened" in str(verify(home))


async def test_files_that_do_not_count_any_more_are_said_to_be_unchecked(recorded: AuditFolder, home: Path) -> None:
    manifest = Manifest.read(recorded)
    superseded = [recorded.root / item["path"] for item in manifest.retired]
    superseded = [path for path in superseded if path.exists()]
    assert superseded
    for path in superseded:
        path.write_bytes(b"altered")
    (recorded.lake / "left-over.parquet").write_bytes(b"by a killed compactor")
    for deep in (False, True):
        found = verify(home, deep=deep)
        assert found.ok, str(found)
        assert found.superseded_files == len(superseded) + 1
        assert f"{found.superseded_files} superseded files were not checked" in str(found)
    for path in (*superseded, recorded.lake / "left-over.parquet"):
        path.unlink()
    assert verify(home).superseded_files == 0
    assert "superseded" not in str(verify(home))
