"""A proof for one call: a small file that shows, offline and without the rest of the record, that the call is in it.

It holds the call's lines exactly as they were recorded, the path of each to the root of its range, the seal that states
that root, the path of the seal to the root of all seals, and the signed checkpoint. It reveals no other call.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from workbench.audit.format.folder import AuditFolder
from workbench.audit.format.merkle_tree import included, inclusion, leaf_hash
from workbench.audit.format.record_keys import RecordKeys, join_rotations
from workbench.audit.lake.segment_checks import read_range
from workbench.audit.write.seals import read_seals
from workbench.events import JSON, MisuseError

FORMAT = "mcp-workbench audit proof 1"


def prove(home: Path, call_id: str, *, tenant: str | None = None) -> JSON:
    """The proof that the call with this id is on the record, as plain JSON data.

    Args:
        home: the state folder.
        call_id: id of the call (`request_id` in SQL).
        tenant: look only at this tenant's record.

    Raises:
        MisuseError: there is no such call, or it is not compacted and signed yet.
    """
    from workbench.audit.query.reader import Reader

    with Reader(home, tenant=tenant) as reader:
        found = reader.events_of("request_id", call_id).to_pylist()
    rows = [row for row in found if row["kind"] in ("call", "intent")]
    if not rows:
        raise MisuseError(
            f"There is no call {call_id!r} on the record.", hint="Look it up: select request_id from tool_calls."
        )
    folder = AuditFolder(home)
    seals = read_seals(folder)
    try:
        keys = RecordKeys.in_folder(folder)
        checkpoint = keys.read(folder.checkpoint.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as e:
        raise MisuseError(f"The record has no valid checkpoint: {e}.", hint="Run `workbench audit verify`.") from e
    leaves = [leaf_hash(entry) for entry, _ in seals[: checkpoint.size]]
    entries = []
    for row in rows:
        file = str(folder.lineage_of(row["tenant"], row["writer"]).relative_to(folder.lineage))
        entries.append(_entry(folder, seals[: checkpoint.size], leaves, file, int(row["seq"])))
    return {
        "format": FORMAT,
        "call": call_id,
        "lines": entries,
        "checkpoint": checkpoint.note,
        "key": keys.public,
        **({"rotations": [rotation.checkpoint.note for rotation in keys.rotations]} if keys.rotations else {}),
    }


def _entry(
    folder: AuditFolder, seals: list[tuple[bytes, dict[str, Any]]], leaves: list[bytes], file: str, seq: int
) -> JSON:
    for index, (entry, seal) in enumerate(seals):
        for number, stated in enumerate(seal.get("lines", [])):
            if stated["file"] != file:
                continue
            lines = read_range(folder, stated).split(b"\n")[:-1]
            position = next((i for i, line in enumerate(lines) if line.startswith(b'{"seq":%d,' % seq)), None)
            if position is None:
                continue
            path = inclusion(position, [leaf_hash(line) for line in lines])
            return {
                "line": lines[position].decode(),
                "position": position,
                "path": [step.hex() for step in path],
                "seal": entry.decode(),
                "range": number,
                "seal_position": index,
                "seal_path": [step.hex() for step in inclusion(index, leaves)],
            }
    raise MisuseError(
        f"The call is recorded in {file} as number {seq}, but not in a signed tree yet.",
        hint="Proofs exist once the compactor has published it: a minute or two after the call.",
    )


def check_proof(proof: JSON, key: str | None = None) -> list[JSON]:
    """The records that `proof` proves. Needs nothing but the proof and the public key.

    Args:
        proof: what `prove` returned.
        key: the public key as the reader of the proof knows it, or an earlier one that it replaced by a statement in
            the proof; None trusts the one in the proof.

    Raises:
        MisuseError: it proves nothing; the message says which step fails.
    """

    def fail(step: str) -> MisuseError:
        return MisuseError(f"This proves nothing: {step}.", hint="Get the proof and the key again from their source.")

    try:
        if proof["format"] != FORMAT:
            raise fail(f"its format is {proof['format']!r}, expected {FORMAT!r}")
        keys = RecordKeys.of(proof["key"], join_rotations(proof.get("rotations", [])))
        if key is not None and key.strip() not in keys.chain.keys:
            raise fail("it was made with another key")
        checkpoint = keys.read(proof["checkpoint"])
        records = []
        for entry in proof["lines"]:
            seal = entry["seal"].encode()
            seal_path = [bytes.fromhex(step) for step in entry["seal_path"]]
            if not included(entry["seal_position"], checkpoint.size, leaf_hash(seal), seal_path, checkpoint.root):
                raise fail("the seal is not in the signed tree")
            stated = orjson.loads(seal)["lines"][entry["range"]]
            path = [bytes.fromhex(step) for step in entry["path"]]
            leaf = leaf_hash(entry["line"].encode())
            if not included(entry["position"], stated["rows"], leaf, path, bytes.fromhex(stated["root"])):
                raise fail("the line is not in the sealed range")
            record = orjson.loads(entry["line"])
            if record.get("request_id") != proof["call"]:
                raise fail("the line is about another call")
            records.append(record)
    except (KeyError, IndexError, TypeError, ValueError) as e:
        raise fail(f"it is malformed or its signature is wrong ({e})") from e
    if not records:
        raise fail("it holds no line")
    return records
