"""The verifier in the document is a second opinion: it shares no code with the platform and must agree with it."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from workbench.audit import verify
from workbench.audit.format.checkpoint import Signer
from workbench.audit.format.folder import AuditFolder
from workbench.audit.format.record_keys import join_rotations, read_rotations
from workbench.audit.lake.compactor import Compactor
from workbench.audit.verification.witness_server import CheckpointStore
from workbench.audit.write.seals import SealLog

DOCUMENT = Path(__file__).parents[2] / "docs" / "audit-format.md"


@pytest.fixture
def verifier(tmp_path: Path) -> Path:
    [code] = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.S | re.M)
    script = tmp_path / "check_record.py"
    script.write_text(code)
    return script


@pytest.fixture
async def recorded(open_log, make_call, home: Path) -> AuditFolder:
    for round in range(2):
        async with open_log(audit_segment_bytes=5000) as log:
            for number in range(20):
                await log.write(f"t{number % 3}", make_call(tenant=f"t{number % 3}", arguments={"ü": number}))
        if round == 0:
            Compactor(AuditFolder(home), grace_s=0).run(today="2999-01-01")
            (home / "older").write_bytes(AuditFolder(home).checkpoint.read_bytes())
            shutil.copy(AuditFolder(home).key, home / "older.key")
            for _ in range(2):
                assert list(SealLog(AuditFolder(home)).replace_key())
    return AuditFolder(home)


def check(verifier: Path, home: Path, *witnessed: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-I", str(verifier), str(home), *map(str, witnessed)],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_the_verifier_is_small_enough_to_read(verifier: Path):
    code = verifier.read_text()
    assert len(code.splitlines()) < 150
    assert "workbench." not in code
    assert "import workbench" not in code


async def test_it_accepts_an_honest_record_and_what_an_old_key_signed_in_its_time(verifier, recorded):
    assert check(verifier, recorded.home, recorded.home / "older") == (0, "The record is as it was signed.\n")


async def test_it_accepts_a_rotation_that_was_interrupted(verifier, recorded):
    rotation = SealLog(recorded).replace_key()
    assert [next(rotation), next(rotation)][1] == "the statement is written"
    rotation.close()
    assert check(verifier, recorded.home) == (0, "The record is as it was signed.\n")


def altered_line(folder: AuditFolder) -> str:
    path = folder.lineages()[0]
    path.write_bytes(path.read_bytes().replace(b'"outcome":"ok"', b'"outcome":"no"', 1))
    return "broken at seq 1 of tenant t0"


def altered_last_line(folder: AuditFolder) -> str:
    path = folder.lineages()[0]
    head, _, last = path.read_bytes().rpartition(b'"user":"ann"')
    path.write_bytes(head + b'"user":"bob"' + last)
    return "not as sealed, near seq 6 of tenant t0"


def removed_file(folder: AuditFolder) -> str:
    folder.lineages()[0].unlink()
    return "not as sealed"


def altered_segment(folder: AuditFolder) -> str:
    path = folder.segments()[-1][2]
    path.write_bytes(path.read_bytes()[:-10])
    return f"{path.name} is not the segment"


def altered_lake(folder: AuditFolder) -> str:
    path = next(folder.lake.glob("*/*.parquet"))
    path.write_bytes(path.read_bytes() + b"x")
    return f"{path.name} is not the file"


def altered_manifest(folder: AuditFolder) -> str:
    folder.manifest.write_bytes(folder.manifest.read_bytes() + b" ")
    return "MANIFEST.json is not one that was sealed"


def removed_seal(folder: AuditFolder) -> str:
    lines = folder.seals.read_bytes().splitlines(keepends=True)
    folder.seals.write_bytes(b"".join(lines[:-1]))
    return "seals.jsonl is not what a checkpoint"


def forged_checkpoint(folder: AuditFolder) -> str:
    folder.checkpoint.write_text(folder.checkpoint.read_text().replace("\n", "\n1", 1))
    return "not signed by the key of mcp-workbench/audit/"


def removed_statement(folder: AuditFolder) -> str:
    statements = [rotation.checkpoint.note for rotation in read_rotations(folder.rotations.read_text())]
    folder.rotations.write_text(join_rotations(statements[1:]))
    return "a statement of rotation is missing"


def removed_statements(folder: AuditFolder) -> str:
    folder.rotations.unlink()
    return "a statement of rotation is missing"


def forged_statement(folder: AuditFolder) -> str:
    origin, size, rest = folder.rotations.read_text().split("\n", 2)
    folder.rotations.write_text(f"{origin}\n{int(size) + 9}\n{rest}")
    return "checkpoint.rotations does not lead to checkpoint.pub"


def old_key_after_its_end(folder: AuditFolder) -> str:
    origin, size, root = folder.checkpoint.read_text().split("\n")[:3]
    stolen = Signer(origin, Ed25519PrivateKey.from_private_bytes((folder.home / "older.key").read_bytes()))
    folder.checkpoint.write_text(stolen.sign(int(size), base64.b64decode(root)).note)
    return "not signed by a key that may"


@pytest.mark.parametrize(
    "alter",
    [
        altered_line,
        altered_last_line,
        removed_file,
        altered_segment,
        altered_lake,
        altered_manifest,
        removed_seal,
        forged_checkpoint,
        removed_statement,
        removed_statements,
        forged_statement,
        old_key_after_its_end,
    ],
)
async def test_it_names_what_was_altered(alter, verifier, recorded):
    expected = alter(recorded)
    code, said = check(verifier, recorded.home)
    assert code == 1
    assert expected in said


async def test_a_witnessed_checkpoint_shows_that_the_end_was_cut_off(verifier, open_log, make_call, home, tmp_path):
    async with open_log() as log:
        await log.write("acme", make_call())
    folder = AuditFolder(home)
    kept = {path: path.read_bytes() for path in (folder.seals, folder.checkpoint)}
    async with open_log(witness=tmp_path / "witness") as log:
        await log.write("acme", make_call())
    for path, content in kept.items():
        path.write_bytes(content)
    [witnessed] = (tmp_path / "witness").iterdir()
    assert check(verifier, home)[0] == 0
    code, said = check(verifier, home, witnessed)
    assert (code, "checkpoint of 2 seals" in said) == (1, True)


@pytest.fixture
async def cosigned(open_log, make_call, home: Path, tmp_path: Path) -> Path:
    """A record that a witness has signed; the public key of that witness."""
    async with open_log() as log:
        await log.write("acme", make_call())
    folder = AuditFolder(home)
    store = CheckpointStore(tmp_path / "store", [folder.public_key.read_text()])
    note = folder.checkpoint.read_text()
    folder.cosigned.write_text(note + store.add(b"old 0\n\n" + note.encode()))
    return store.public_key


def nothing(folder: AuditFolder) -> str:
    return "The record is as it was signed."


def another_time(folder: AuditFolder) -> str:
    head, _, encoded = folder.cosigned.read_text().rstrip().rpartition(" ")
    raw = bytearray(base64.b64decode(encoded))
    raw[11] ^= 1
    folder.cosigned.write_text(f"{head} {base64.b64encode(raw).decode()}\n")
    return "not signed by the key of mcp-workbench/witness"


def no_signature(folder: AuditFolder) -> str:
    folder.cosigned.write_text(folder.checkpoint.read_text())
    return "not signed by the key of mcp-workbench/witness"


@pytest.mark.parametrize("alter", [nothing, another_time, no_signature])
async def test_both_verifiers_demand_the_signature_of_a_witness_whose_key_they_are_given(
    alter, verifier, home, cosigned
):
    expected = alter(AuditFolder(home))
    code, said = check(verifier, home, cosigned)
    assert (code, expected in said) == (int(alter is not nothing), True)
    found = verify(home, witness_key=cosigned.read_text())
    assert found.ok is (alter is nothing)
    assert check(verifier, home)[0] == 0
