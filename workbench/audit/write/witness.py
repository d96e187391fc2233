"""Sending signed checkpoints to a place that the platform cannot rewrite, and asking that place what it saw.

A witness is a folder (of another disk, another owner, a write-once mount), or a server that speaks C2SP *tlog-witness*:
`POST <url>/add-checkpoint` with the size it saw last, a consistency proof from there, and the checkpoint. Such a server
refuses a tree that contradicts what it saw before, so it needs no trust in the platform at all.
"""

from __future__ import annotations

import base64
import logging
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from workbench.audit.format.folder import AuditFolder, replace_durably
from workbench.audit.format.merkle_tree import consistency, leaf_hash
from workbench.audit.format.record_keys import InvalidRotationsError, read_rotations, rotations_text
from workbench.events import MisuseError, UnreachableError, WorkbenchError

_log = logging.getLogger(__name__)
_TIMEOUT_S = 10.0
_RETRY_PAUSE_S = 5.0
_SIZE_TYPE = "text/x.tlog.size"


class WitnessRefusedError(WorkbenchError):
    """The witness saw another history, or knows nothing of this record."""

    error_kind = "WitnessRefused"


class WitnessKeyError(WitnessRefusedError):
    """The witness does not know the key that signed the checkpoint."""

    error_kind = "WitnessLacksKey"


class CheckpointStatement(NamedTuple):
    """What the text of a checkpoint says, unchecked."""

    origin: str
    size: int
    root: str

    @classmethod
    def of(cls, note: str) -> CheckpointStatement:
        """The first three lines of a note."""
        origin, size, root = note.split("\n", 3)[:3]
        return cls(origin, int(size), root)


def is_url(target: str) -> bool:
    """Whether the setting `audit_witness` names a server rather than a folder."""
    return target.startswith(("http://", "https://"))


def check_target(target: str) -> None:
    """Refuse what is neither a folder nor the URL of a witness.

    Raises:
        MisuseError: another scheme, or a file.
    """
    if "://" in target and not is_url(target):
        raise MisuseError(f"Setting audit_witness is {target!r}.", hint="Expected a folder, or an http(s) URL.")
    if not is_url(target) and Path(target).exists() and not Path(target).is_dir():
        raise MisuseError(
            f"Setting audit_witness names the file {target}.", hint="Expected a folder, or an http(s) URL."
        )


def read_witness_key(path: Path | None) -> str | None:
    """The text of the file that the setting `audit_witness_key` names; None without the setting.

    Raises:
        MisuseError: the file cannot be read.
    """
    if path is None:
        return None
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise MisuseError(f"The key of the witness cannot be read: {e}.", hint="Name a copy of its witness.pub.") from e


class FolderWitness:
    """Keeps each checkpoint as a file of its own that is never written again."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, note: str) -> None:
        """Store one checkpoint.

        Raises:
            OSError: the folder cannot be written.
        """
        self._path.mkdir(parents=True, exist_ok=True)
        target = self._path / f"{CheckpointStatement.of(note).size:012d}.checkpoint"
        if not target.exists():
            replace_durably(target, note.encode(), 0o644)


class HttpWitness:
    """A server that speaks C2SP tlog-witness.

    Args:
        folder: the record; its seals give the consistency proofs, and the witness's signatures are kept in `cosigned`.
        url: prefix under which `add-checkpoint` is.
    """

    def __init__(self, folder: AuditFolder, url: str) -> None:
        self._folder = folder
        self._url = url.rstrip("/") + "/add-checkpoint"
        self._known = 0
        self._leaves: list[bytes] = []
        self._offset = 0

    def send(self, note: str) -> None:
        """Have the witness take one checkpoint in and sign it; its signature is kept beside ours.

        One that does not know the key yet is told first how it followed from those before.

        Raises:
            UnreachableError: the server does not answer.
            WitnessRefusedError: it saw a history that this checkpoint contradicts.
        """
        try:
            answer = self._add(note)
        except WitnessKeyError:
            if not self._tell_rotations():
                raise
            answer = self._add(note)
        if answer is not None:
            replace_durably(self._folder.cosigned, (note + answer).encode(), 0o644)

    def _tell_rotations(self) -> bool:
        """Send the statements by which keys followed each other; whether there are any."""
        try:
            rotations = read_rotations(rotations_text(self._folder))
        except (InvalidRotationsError, UnicodeDecodeError):
            return False
        for rotation in rotations:
            if rotation.checkpoint.size >= self._known:  # of a smaller tree it knows already, or will not learn
                self._add(rotation.checkpoint.note)
        return bool(rotations)

    def _add(self, note: str) -> str | None:
        """The signatures of the witness under a checkpoint; None when it has seen a later one."""
        statement = CheckpointStatement.of(note)
        for _ in range(3):
            told = self._known
            seen, answer = self._post(statement, note)
            if seen is None:
                self._known = statement.size
                return answer
            if seen > statement.size:
                self._known = seen
                return None  # another process of this platform has sent a later one
            if seen == told:
                break
            self._known = seen
        if seen == statement.size:
            raise WitnessRefusedError(
                f"The witness saw another tree of {seen} seals.", hint="Run `workbench audit verify`."
            )
        raise WitnessRefusedError("The witness does not agree with itself on what it saw.", hint="Look at its log.")

    def confirm(self, note: str, leaves: int) -> str:
        """What speaks against the record, as the witness sees it; empty when it confirms it.

        Args:
            note: the newest checkpoint of the record.
            leaves: how many seals there are.

        Raises:
            UnreachableError: the server does not answer.
        """
        statement = CheckpointStatement.of(note)
        try:
            seen, _ = self._confirmed(statement, note)
            if seen is None:
                return ""
            if seen > leaves:
                return f"the witness saw {seen} seals; {seen - leaves} of them were removed"
            if seen == statement.size:
                return f"the witness saw another tree of {seen} seals"
            if seen < statement.size:
                self._known = seen
                self.send(note)
        except WitnessRefusedError as e:
            return str(e.args[0])
        return ""

    def _confirmed(self, statement: CheckpointStatement, note: str) -> tuple[int | None, str]:
        try:
            return self._post(statement, note, old=statement.size)
        except WitnessKeyError:
            if not self._tell_rotations():
                raise
            return self._post(statement, note, old=statement.size)

    def _post(self, statement: CheckpointStatement, note: str, *, old: int | None = None) -> tuple[int | None, str]:
        """None and the witness's signatures when it agreed, else the size that it saw."""
        known = self._known if old is None else old
        proof = self._proof(min(known, statement.size), statement.size)
        body = f"old {known}\n" + "".join(f"{base64.b64encode(step).decode()}\n" for step in proof) + f"\n{note}"
        request = urllib.request.Request(self._url, body.encode(), {"Content-Type": "text/plain"}, method="POST")  # noqa: S310  http(s) alone, see above
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310  http(s) alone, see above
                return None, response.read(1 << 16).decode()
        except urllib.error.HTTPError as e:
            with e:
                text = e.read(1 << 12).decode("utf-8", "replace").strip()
                if e.code == 409 and e.headers.get_content_type() == _SIZE_TYPE and text.isdecimal():
                    return int(text), ""
            if e.code in (403, 404, 409, 422):
                kind = WitnessKeyError if e.code == 403 else WitnessRefusedError
                raise kind(
                    f"The witness refuses the checkpoint of {statement.size} seals ({e.code}): {text[:200]}",
                    hint="It must know this record's checkpoint.pub; if it does, run `workbench audit verify`.",
                ) from e
            raise UnreachableError(f"The witness at {self._url} answered {e.code}.") from e
        except (OSError, ValueError) as e:
            raise UnreachableError(f"The witness at {self._url} does not answer: {e}.") from e

    def _proof(self, first: int, second: int) -> list[bytes]:
        if first in (0, second):
            return []
        self._read_leaves()
        return consistency(first, self._leaves[:second])

    def _read_leaves(self) -> None:
        with self._folder.seals.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if line.endswith(b"\n"):
                    self._leaves.append(leaf_hash(line[:-1]))
                    self._offset += len(line)


def open_witness(folder: AuditFolder, target: str) -> FolderWitness | HttpWitness:
    """The witness that the setting `audit_witness` names.

    Raises:
        MisuseError: it names neither a folder nor a URL.
    """
    check_target(target)
    return HttpWitness(folder, target) if is_url(target) else FolderWitness(Path(target).expanduser())


class WitnessSender:
    """Sends the newest checkpoint from a thread of its own, again and again until the witness has it.

    A witness that is away must not stop the record: what it misses is covered by the next checkpoint it gets.
    That it is away is said in `problem`, which the platform's status shows.
    """

    def __init__(self, witness: FolderWitness | HttpWitness) -> None:
        self._witness = witness
        self._newest = ""
        self._change = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None
        self.problem = ""
        """Why the newest checkpoint is not with the witness; empty when it is."""
        self.sent = 0
        """Size of the largest tree that the witness has."""

    def __call__(self, note: str) -> None:
        with self._change:
            self._newest = note
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="audit-witness", daemon=True)
                self._thread.start()
            self._change.notify()

    def close(self, timeout_s: float = 5.0) -> None:
        """Send what is waiting, for a few seconds at most."""
        with self._change:
            self._closing = True
            self._change.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._change:
                while not self._newest and not self._closing:
                    self._change.wait()
                note, self._newest = self._newest, ""
            if not note:
                return
            try:
                self._witness.send(note)
                self.problem, self.sent = "", CheckpointStatement.of(note).size
            except (WorkbenchError, OSError) as e:
                if not self.problem:
                    _log.warning("a checkpoint did not reach the witness: %s", e)
                self.problem = str(e)
                with self._change:
                    self._newest = self._newest or note
                    if self._closing:
                        return
                    self._change.wait(_RETRY_PAUSE_S)
