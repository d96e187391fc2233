"""A witness: a small HTTP server that stores checkpoints and refuses a history that contradicts what it stored.

It speaks C2SP *tlog-witness* and signs what it took in with C2SP *cosignature/v1*. Run it on another machine or under
another user than the platform: `workbench audit witness FOLDER --trust checkpoint.pub`.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import http.server
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.audit.format.checkpoint import Checkpoint, read_verifier_key
from workbench.audit.format.cosignature import cosign, cosigner_key
from workbench.audit.format.folder import replace_durably
from workbench.audit.format.merkle_tree import consistent
from workbench.audit.format.record_keys import KeyChain, Rotation, join_rotations, read_rotations

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_MAX_BODY_BYTES = 1 << 16


class CheckpointRefusedError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, text: str, content_type: str = "text/plain") -> None:
        super().__init__(text)
        self.status, self.text, self.content_type = status, text, content_type


class CheckpointStore:
    """The checkpoints of the logs that are trusted, one folder for each log; nothing in it is ever written twice.

    Args:
        folder: where they are kept, with the witness's own key.
        trusted: texts of `checkpoint.pub`. Keys that follow them by a statement of rotation are trusted from then on.
        name: name of this witness in its signatures.

    Raises:
        MisuseError: a text is no such key.
    """

    def __init__(self, folder: Path, trusted: list[str], name: str = "mcp-workbench/witness") -> None:
        self._folder = folder
        self._name = name
        self._busy = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys: dict[str, list[str]] = {}
        for text in trusted:
            keys.setdefault(read_verifier_key(text)[0], []).append(text)
        self._logs = {origin: self._chain(origin, texts) for origin, texts in keys.items()}
        self._key = self._open_key()

    def _open_key(self) -> Ed25519PrivateKey:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        path = self._folder / "witness.key"
        if not path.exists():
            replace_durably(path, Ed25519PrivateKey.generate().private_bytes_raw(), 0o600)
        key = Ed25519PrivateKey.from_private_bytes(path.read_bytes())
        self.public_key = self._folder / "witness.pub"
        if not self.public_key.exists():
            replace_durably(self.public_key, cosigner_key(self._name, key.public_key()).encode() + b"\n", 0o644)
        return key

    def add(self, body: bytes) -> str:
        """Take in one checkpoint; returns the lines of signatures to answer with.

        Raises:
            ApprovalRefusedError: with the status that the specification demands.
        """
        old, proof, note = _parse(body)
        origin = note.split("\n", 1)[0]
        keys = self._logs.get(origin)
        if keys is None:
            raise CheckpointRefusedError(404, "this log is not known here\n")
        try:
            new = keys.read(note)
        except ValueError as e:
            raise CheckpointRefusedError(403, f"{e}\n") from e
        if old > new.size:
            raise CheckpointRefusedError(400, "the old size is larger than the new one\n")
        with self._busy:
            seen = self._newest(origin)
            if old != (seen.size if seen else 0):
                raise CheckpointRefusedError(409, f"{seen.size if seen else 0}\n", "text/x.tlog.size")
            if seen is not None and new.size == seen.size:
                if new.root != seen.root:
                    raise CheckpointRefusedError(409, f"{seen.size}\n", "text/x.tlog.size")
            elif seen is not None and not consistent(seen.size, new.size, seen.root, new.root, proof):
                raise CheckpointRefusedError(422, "the proof does not lead from what was seen to this\n")
            elif seen is None or new.size > seen.size:
                replace_durably(self._of(origin) / f"{new.size:012d}.checkpoint", note.encode(), 0o600)
            self._follow(origin, keys, note)
        return cosign(note, self._name, self._key)

    def _of(self, origin: str) -> Path:
        path = self._folder / hashlib.sha256(origin.encode()).hexdigest()[:32]
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def _newest(self, origin: str) -> Checkpoint | None:
        """What was taken in last. Its signature was checked then, with a key that may not be trusted any more."""
        stored = max(self._of(origin).glob("*.checkpoint"), default=None)
        if stored is None:
            return None
        note = stored.read_text(encoding="utf-8")
        _, size, root = note.split("\n", 3)[:3]
        return Checkpoint(origin, int(size), base64.b64decode(root), note)

    def _chain(self, origin: str, trusted: list[str]) -> KeyChain:
        """The keys that are trusted, and those that followed them as this witness was told before."""
        chain = KeyChain(trusted)
        for rotation in read_rotations(self._rotations(origin)):
            with contextlib.suppress(ValueError):  # whoever runs this witness trusts a later key by name
                chain.follow(rotation)
        return chain

    def _follow(self, origin: str, keys: KeyChain, note: str) -> None:
        """Trust the next key when a checkpoint is a statement about it; one that was taken in before says nothing new.

        It is kept before it counts, so that a restart does not forget it.
        """
        try:
            rotation = Rotation.of(note)
            KeyChain(keys.keys).follow(rotation)
        except ValueError:
            return
        known = [known.checkpoint.note for known in read_rotations(self._rotations(origin))]
        replace_durably(self._of(origin) / "checkpoint.rotations", join_rotations([*known, note]).encode(), 0o600)
        with contextlib.suppress(ValueError):
            keys.follow(rotation)

    def _rotations(self, origin: str) -> str:
        path = self._of(origin) / "checkpoint.rotations"
        return path.read_text(encoding="utf-8") if path.exists() else ""


def _parse(body: bytes) -> tuple[int, list[bytes], str]:
    try:
        head, separator, note = body.decode().partition("\n\n")
        first, *steps = head.split("\n")
        word, _, size = first.partition(" ")
        proof = [base64.b64decode(step, validate=True) for step in steps]
    except (UnicodeDecodeError, binascii.Error) as e:
        raise CheckpointRefusedError(400, "the request does not read\n") from e
    if not separator or word != "old" or not size.isdecimal() or len(proof) > 63:
        raise CheckpointRefusedError(400, "expected: old <size>, the proof, an empty line, the checkpoint\n")
    return int(size), proof, note


class WitnessServer(http.server.ThreadingHTTPServer):
    """Serves one store. `serve_forever()`, and `shutdown()` from another thread."""

    daemon_threads = True

    def __init__(self, store: CheckpointStore, host: str, port: int) -> None:
        self.store = store
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """What to give as `audit_witness`."""
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: WitnessServer
    timeout = 10.0

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        try:
            if self.path != "/add-checkpoint":
                raise CheckpointRefusedError(404, "there is only /add-checkpoint\n")
            if not length.isdecimal() or int(length) > _MAX_BODY_BYTES:
                raise CheckpointRefusedError(413, f"a body of at most {_MAX_BODY_BYTES} bytes is expected\n")
            self._answer(200, self.server.store.add(self.rfile.read(int(length))))
        except CheckpointRefusedError as e:
            self._answer(e.status, e.text, e.content_type)

    def _answer(self, status: int, text: str, content_type: str = "text/plain; charset=utf-8") -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        if os.environ.get("WORKBENCH_WITNESS_LOG"):
            super().log_message(format, *args)
