"""Checks a folder with a release against its provenance: `python -m release.verify FOLDER [--key release.pub]`.

Exit status: 0 everything fits, 1 something does not.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from release.build import PAYLOAD_TYPE, sha256, signing_input


def problems(folder: Path, key: Path | None) -> list[str]:
    """What is wrong with the release in `folder`; empty when all is well.

    Args:
        folder: with wheel, source archive, bill of materials and provenance.
        key: Ed25519 public key, PEM, that has to have signed the provenance; None accepts an unsigned one.
    """
    found = sorted(folder.glob("*.intoto.jsonl"))
    if len(found) != 1:
        return [f"{folder} has {len(found)} provenance files (*.intoto.jsonl); expected one."]
    try:
        statement = _statement(json.loads(found[0].read_text(encoding="utf-8")), key)
        named = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    except (ValueError, KeyError, TypeError) as e:
        return [f"{found[0].name}: {e}"]
    wrong = []
    there = {path.name: path for path in folder.iterdir() if path != found[0]}
    for name, digest in named.items():
        if name not in there:
            wrong.append(f"{name} is missing.")
        elif sha256(there[name]) != digest:
            wrong.append(f"{name} is not the file that was built: its SHA-256 differs from the provenance.")
    wrong += [f"{name} is not named by the provenance." for name in sorted(set(there) - set(named))]
    return wrong


def _statement(document: Any, key: Path | None) -> Any:
    if "payload" not in document:
        if key is not None:
            raise ValueError("the provenance is not signed.")
        return document
    if document["payloadType"] != PAYLOAD_TYPE:
        raise ValueError(f"the payload is {document['payloadType']!r}; expected {PAYLOAD_TYPE!r}.")
    payload = base64.b64decode(document["payload"], validate=True)
    if key is not None:
        public = serialization.load_pem_public_key(key.read_bytes())
        if not isinstance(public, Ed25519PublicKey):
            raise ValueError(f"{key} holds another kind of key; expected Ed25519.")
        if not any(_is_signed(public, each, payload) for each in document["signatures"]):
            raise ValueError(f"no signature is by the key in {key}.")
    return json.loads(payload)


def _is_signed(public: Ed25519PublicKey, signature: Any, payload: bytes) -> bool:
    try:
        public.verify(base64.b64decode(signature["sig"], validate=True), signing_input(payload))
    except (InvalidSignature, ValueError):
        return False
    return True


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m release.verify", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--key", type=Path, help="public key that has to have signed the provenance")
    given = parser.parse_args(arguments)
    wrong = problems(given.folder, given.key)
    for each in wrong:
        print(each, file=sys.stderr)
    print(f"{given.folder}: {'does not fit its provenance' if wrong else 'fits its provenance'}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
