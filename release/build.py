"""Builds a release into `dist/`: wheel, source archive, bill of materials, provenance. `python -m release.build`.

The same commit gives the same bytes: times come from the commit, and nothing of the machine goes in. The provenance
is an in-toto statement with SLSA provenance v1 (https://slsa.dev/spec/v1.0/provenance). With `--key` it is signed
with Ed25519 in a DSSE envelope (https://github.com/secure-systems-lab/dsse); `release.verify` checks it.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ROOT = Path(__file__).parents[1]
PAYLOAD_TYPE = "application/vnd.in-toto+json"
BUILD_TYPE = "urn:mcp-research-workbench:release.build:1"
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-ci.lock")


class ReleaseError(Exception):
    """The release cannot be built; the message says why and what to do."""


def build(out: Path, *, allow_dirty: bool = False, key: Path | None = None) -> list[Path]:
    """Build everything into `out`.

    Args:
        out: folder for the files; it must be empty or missing.
        allow_dirty: build although the work tree has changes that are not committed; the provenance then says so.
        key: Ed25519 private key, PEM (PKCS #8), to sign the provenance with; None leaves it unsigned.

    Returns:
        The files, the provenance last.

    Raises:
        ReleaseError: there are uncommitted changes, `out` has files, or the key cannot be used.
    """
    dirty = bool(_git("status", "--porcelain"))
    if dirty and not allow_dirty:
        raise ReleaseError("There are changes that are not committed. Commit them, or give --allow-dirty for a trial.")
    if out.exists() and any(out.iterdir()):
        raise ReleaseError(f"{out} is not empty. Move its files away: a release is built into an empty folder.")
    signer = None if key is None else _signer(key)
    out.mkdir(parents=True, exist_ok=True)
    commit, time = _git("rev-parse", "HEAD"), _git("log", "-1", "--format=%ct")
    environment = {**os.environ, "SOURCE_DATE_EPOCH": time}
    _run([sys.executable, "-m", "hatchling", "build", "-d", str(out)], environment)
    artefacts = sorted(out.iterdir())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stem = f"{project['name'].replace('-', '_')}-{project['version']}"
    bill = out / f"{stem}.cdx.json"
    _bill_of_materials(bill, environment)
    files = [*artefacts, bill]
    statement = provenance(files, commit=commit, dirty=dirty, version=project["version"])
    signed = out / f"{stem}.intoto.jsonl"
    text = json.dumps(statement if signer is None else envelope(statement, signer), sort_keys=True)
    signed.write_text(text + "\n", encoding="utf-8")
    return [*files, signed]


def provenance(files: list[Path], *, commit: str, dirty: bool, version: str) -> dict[str, Any]:
    """The statement of what was built from what (in-toto Statement v1 with SLSA provenance v1)."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": file.name, "digest": {"sha256": sha256(file)}} for file in files],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"version": version, "uncommittedChanges": dirty},
                "internalParameters": {"python": f"{sys.version_info.major}.{sys.version_info.minor}"},
                "resolvedDependencies": [
                    {"name": "source", "digest": {"gitCommit": commit}},
                    *({"name": name, "digest": {"sha256": sha256(ROOT / name)}} for name in LOCKS),
                ],
            },
            "runDetails": {"builder": {"id": os.environ.get("RELEASE_BUILDER_ID", "urn:local-build")}},
        },
    }


def envelope(statement: dict[str, Any], signer: Ed25519PrivateKey) -> dict[str, Any]:
    """`statement` in a signed DSSE envelope."""
    payload = json.dumps(statement, sort_keys=True).encode()
    public = signer.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [
            {
                "keyid": hashlib.sha256(public).hexdigest(),
                "sig": base64.b64encode(signer.sign(signing_input(payload))).decode(),
            }
        ],
    }


def signing_input(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding of a payload."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bill_of_materials(path: Path, environment: dict[str, str]) -> None:
    """What the runtime lock file installs, as CycloneDX 1.6."""
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(ROOT / "requirements.lock")]
    options = ["--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "application", "--output-reproducible"]
    _run([*command, *options, "--sv", "1.6", "--of", "JSON", "-o", str(path)], environment)


def _signer(path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as e:
        raise ReleaseError(f"{path} cannot be read as a private key without a passphrase: {e}.") from e
    if not isinstance(key, Ed25519PrivateKey):
        raise ReleaseError(f"{path} holds another kind of key; expected Ed25519 (openssl genpkey -algorithm ed25519).")
    return key


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def _run(command: list[str], environment: dict[str, str]) -> None:
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if ended.returncode:
        raise ReleaseError(f"{' '.join(command[2:4])} failed:\n{ended.stderr.strip()[-2000:]}")


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m release.build", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--key", type=Path, help="Ed25519 private key that signs the provenance")
    parser.add_argument("--allow-dirty", action="store_true", help="build with uncommitted changes, and say so")
    given = parser.parse_args(arguments)
    try:
        files = build(given.out, allow_dirty=given.allow_dirty, key=given.key)
    except ReleaseError as e:
        print(e, file=sys.stderr)
        return 1
    for file in files:
        print(f"{sha256(file)}  {file.name}")
    if given.key is None:
        print("The provenance is not signed: give --key.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
