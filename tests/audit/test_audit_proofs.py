"""A proof for one call stands alone."""

from __future__ import annotations

import copy
import json
import shutil

import pytest

from workbench.audit import verify
from workbench.audit.format.folder import AuditFolder
from workbench.audit.lake.compactor import Compactor
from workbench.audit.verification.proof import check_proof, prove
from workbench.events import MisuseError


@pytest.fixture
async def proved(open_log, make_call, home):
    """A record of several segments, one call in it, and the proof of that call."""
    async with open_log(audit_segment_bytes=9000) as log:
        for number in range(30):
            await log.write("acme", make_call(arguments={"other": number}))
        wanted = make_call(arguments={"q": "this one"})
        await log.write("acme", wanted)
        for number in range(9):
            await log.write(f"t{number}", make_call(tenant=f"t{number}"))
    Compactor(AuditFolder(home), grace_s=0).run(today="2999-01-01")
    Compactor(AuditFolder(home), grace_s=0).run(today="2999-01-01")
    assert AuditFolder(home).segments() == []
    assert verify(home, deep=True).ok
    return prove(home, wanted["request_id"]), wanted


async def test_a_proof_verifies_without_the_record(proved, home):
    proof, wanted = proved
    key = AuditFolder(home).public_key.read_text()
    shutil.rmtree(home)
    [record] = check_proof(json.loads(json.dumps(proof)), key)
    assert record["event_id"] == wanted["event_id"]
    assert record["args_redacted"] == {"q": "this one"}


async def test_a_proof_reveals_no_other_call(proved):
    proof, _ = proved
    assert '"other"' not in json.dumps(proof).replace("\\", "")


def altered_line(proof):
    proof["lines"][0]["line"] = proof["lines"][0]["line"].replace("this one", "that one")


def altered_seal(proof):
    proof["lines"][0]["seal"] = proof["lines"][0]["seal"].replace('"v":1', '"v":2')


def altered_checkpoint(proof):
    proof["checkpoint"] = proof["checkpoint"].replace("\n", "\n1", 1)


def another_call(proof):
    proof["call"] = "another"


def another_place(proof):
    proof["lines"][0]["position"] += 1


def another_format(proof):
    proof["format"] = "2"


def no_lines(proof):
    proof["lines"] = []


def no_seal(proof):
    del proof["lines"][0]["seal"]


def another_range(proof):
    proof["lines"][0]["range"] = 10**6


@pytest.mark.parametrize(
    "change",
    [
        altered_line,
        altered_seal,
        altered_checkpoint,
        another_call,
        another_place,
        another_format,
        no_lines,
        no_seal,
        another_range,
    ],
)
async def test_a_changed_proof_proves_nothing(change, proved):
    proof = copy.deepcopy(proved[0])
    assert check_proof(proof)
    change(proof)
    with pytest.raises(MisuseError, match="proves nothing"):
        check_proof(proof)


async def test_a_proof_made_with_another_key_proves_nothing(proved):
    with pytest.raises(MisuseError, match="another key"):
        check_proof(proved[0], "another+key")


async def test_what_is_not_on_the_record_is_not_proved(proved, home):
    with pytest.raises(MisuseError, match="There is no call"):
        prove(home, "nothing")
    with pytest.raises(MisuseError, match="There is no call"):
        prove(home, proved[1]["request_id"], tenant="t1")


async def test_what_is_not_compacted_yet_is_said_to_be(open_log, make_call, home):
    async with open_log(audit_segment_bytes=1) as log:
        record = make_call()
        await log.write("acme", record)
    with pytest.raises(MisuseError, match="not in a signed tree yet"):
        prove(home, record["request_id"])


async def test_without_a_checkpoint_nothing_is_proved(proved, home):
    AuditFolder(home).checkpoint.write_text("nonsense")
    with pytest.raises(MisuseError, match="no valid checkpoint"):
        prove(home, proved[1]["request_id"])
