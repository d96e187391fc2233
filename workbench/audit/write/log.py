"""`AuditLog`: the one way to write the record. Group commit in a thread; when it cannot write, nothing is answered."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson

from workbench.audit.backends import open_sink
from workbench.audit.format.existence_witness import remember_writer
from workbench.audit.format.folder import AuditFolder, new_writer_id
from workbench.audit.format.records import KINDS, ROUTINE
from workbench.audit.write.repeated_refusals import RepeatedRefusals
from workbench.audit.write.seals import SealLog, Witness
from workbench.audit.write.sink import Sink
from workbench.audit.write.subject_keys import SubjectKeys
from workbench.audit.write.tenant_byte_quota import ByteQuota
from workbench.audit.write.witness import WitnessSender, open_witness
from workbench.audit.write.writer import SegmentWriter
from workbench.config import prepare_home
from workbench.events import JSON, MisuseError, NotRecordedError
from workbench.json_values import plain
from workbench.secrets import hide_bytes, redactors

if TYPE_CHECKING:
    from workbench.config import Settings

_MAX_RECORD_BYTES = 15 << 20  # DuckDB reads JSON objects of up to 16 MiB
_MAX_BATCH = 4096
_SPACE_CHECK_S = 0.5
_STALLED_S = 15.0
_AFTER_FORK = "this process was forked from the one that opened the log"

_Waiter = asyncio.Future[None]
_Queued = tuple[str, bytes, _Waiter | None, bool]


_OF_SERVERS = ("registry_event", "health_check")
_TOLD = ("data", "error_message")
"""Fields of these kinds in which servers are quoted."""


class AuditLog:
    """The record, as seen by the one process and event loop that writes it.

    Modes (setting `audit_mode`), by what an acknowledged record survives:
    `async` nothing is promised and nobody waits; `os` the death of the process (`write()` returned);
    `fsync` the loss of power (`fdatasync()` returned); `strict` as `fsync`, and the gateway also records the intent of
    a call before it dispatches it.
    """

    def __init__(
        self,
        settings: Settings,
        folder: AuditFolder,
        *,
        witness: Witness | None = None,
        sink: Sink | None = None,
        quota: ByteQuota | None = None,
    ) -> None:
        self.mode = settings.audit_mode
        self.folder = folder
        self._witness = witness
        self._sink = sink
        self.acknowledged = 0
        """Records written so far."""
        self.commits = 0
        """Batches written so far."""
        self.on_record: list[Callable[[str, JSON], None]] = []
        """Called with tenant and record, in clear, of everything that was accepted; must be quick and not raise."""
        self.quota = quota or ByteQuota(settings.record_bytes_per_hour)
        """What each tenant has added, and may add."""
        self._queue_bytes = settings.audit_queue_bytes
        self._min_free = settings.audit_min_free_bytes
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Queued] = deque()
        # Two counters that only grow, each changed by one thread: a shared one would need a lock on the hot path.
        self._bytes_in = 0
        self._bytes_out = 0
        self._inflight: list[_Waiter] = []
        self._failed = ""
        self._full = ""
        self._stopping = False
        self._waking = False
        self._wake = threading.Event()
        self._watch: asyncio.TimerHandle | None = None
        self._watched = -1
        self._home = settings.home
        self._keys = SubjectKeys(settings.home) if settings.audit_encrypt else None
        self.writer, self._lock_fd = _take_writer_id(folder)
        try:
            self._segments = SegmentWriter(
                folder,
                self.writer,
                SealLog(folder, witness),
                durable=self.mode in ("fsync", "strict"),
                segment_bytes=settings.audit_segment_bytes,
                segment_seconds=settings.audit_segment_seconds,
            )
        except BaseException:
            self._release_lock()
            raise
        self.repeats = RepeatedRefusals(self, folder.pending)
        """Refusals that are counted instead of being recorded one by one."""
        self._check_space()
        remember_writer(folder.home)
        _living.add(self)
        self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)
        self._thread.start()

    @classmethod
    async def open(
        cls, settings: Settings, *, witness: Witness | None = None, quota: ByteQuota | None = None
    ) -> AuditLog:
        """Mend what dead writers left, take a new writer id, and start writing.

        Args:
            settings: `home` and the `audit_*` settings count.
            witness: folder or function that gets a copy of every signed checkpoint; default what the setting
                `audit_witness` names.
            quota: counts the bytes of tenants; default one of this process alone.

        Raises:
            MisuseError: `home` is a file or somebody else's folder, or the witness is neither folder nor URL.
            NotRecordedError: the log cannot be written.
        """
        from workbench.audit.write.recovery import recover

        try:
            prepare_home(settings.home)
            folder = AuditFolder(settings.home)
            folder.prepare()
            if witness is None and settings.audit_witness:
                witness = WitnessSender(open_witness(folder, settings.audit_witness))
            await asyncio.to_thread(recover, folder, witness)
            sink = await asyncio.to_thread(open_sink, settings)
            try:
                log = cls(settings, folder, witness=witness, sink=sink, quota=quota)
            except BaseException:
                if sink is not None:
                    sink.close()
                raise
            with contextlib.suppress(NotRecordedError):  # a log that cannot be written says so when it is used
                await log.repeats.recover()
            return log
        except OSError as e:
            raise NotRecordedError(
                f"The audit log in {settings.home} cannot be opened: {e}.",
                hint="Make the folder writable, or set WORKBENCH_HOME to another one.",
            ) from e

    # --- the event loop's side ------------------------------------------------

    @property
    def failed(self) -> str:
        """Why nothing can be recorded (any more); empty when all is well."""
        return self._failed or ("it is closed" if self._stopping else self._full)

    @property
    def encrypts(self) -> bool:
        """Whether what people sent and got is recorded encrypted."""
        return self._keys is not None

    @property
    def unwitnessed(self) -> str:
        """Why the newest checkpoint is not with the witness; empty when it is, or none is set."""
        return self._witness.problem if isinstance(self._witness, WitnessSender) else ""

    def put(self, tenant: str, record: JSON) -> asyncio.Future[None] | None:
        """Queue one record. To be called on the event loop that opened the log.

        Args:
            tenant: whose record it is; it is written into the record whatever the record says.
            record: what a builder of `records` returned.

        Returns:
            A future that resolves when the record is acknowledged as the mode promises; None in `async` mode.

        Raises:
            NotRecordedError: it cannot be recorded: the log failed, is closed, its queue or the disk is full.
            MisuseError: the record is of no known kind, or far too large.
        """
        if record["kind"] in _OF_SERVERS and (redactor := redactors.find(self._home)) is not None:
            told = {name: redactor.event(record[name], tenant) for name in _TOLD if record.get(name)}
            record = {**record, **told}
        if self._failed or self._full or self._stopping:
            raise self._refusal(self.failed or "it is closed")
        kept = record if self._keys is None else self._protected(tenant, record)
        body = _encode(tenant, kept)
        if self._bytes_in - self._bytes_out + len(body) > self._queue_bytes:
            raise self._refusal(f"{self._queue_bytes} bytes are already waiting to be written")
        waiter = None if self.mode == "async" else self._loop.create_future()
        self._queue.append((tenant, body, waiter, record["kind"] in ROUTINE))
        self._bytes_in += len(body)
        self.quota.add(tenant, len(body))
        if not self._waking:
            # once for all that is put in this turn of the loop: waking the thread costs more than writing a record
            self._waking = True
            self._loop.call_soon(self._wake_writer)
        if self._watch is None:
            self._watch_progress()
        for tell in self.on_record:
            tell(tenant, record)
        return waiter

    def _wake_writer(self) -> None:
        self._waking = False
        self._wake.set()

    def _protected(self, tenant: str, record: JSON) -> JSON:
        assert self._keys is not None
        try:
            return self._keys.protect(tenant, record)
        except sqlite3.Error as e:
            raise self._refusal(f"the keys that it is encrypted with cannot be used ({e})") from e

    async def write(self, tenant: str, record: JSON) -> None:
        """`put`, and wait for the acknowledgement.

        Raises:
            NotRecordedError: it could not be recorded.
        """
        waiter = self.put(tenant, record)
        if waiter is not None:
            await waiter

    async def close(self) -> None:
        """Write what is queued, seal, sign, and give up the writer id. Later puts are refused. May be called twice."""
        if not self.failed:
            await self.repeats.close()
        self._stopping = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join, 2 * _STALLED_S)
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._keys is not None:
            self._keys.close()
        if isinstance(self._witness, WitnessSender):
            await asyncio.to_thread(self._witness.close)
        await self.quota.close()
        await asyncio.sleep(0)  # lets acknowledgements that the thread scheduled arrive

    def _refusal(self, why: str) -> NotRecordedError:
        return NotRecordedError(
            f"The audit log cannot record this: {why}.",
            hint="Nothing is answered unrecorded. Free disk space or mend the cause, then restart the platform.",
        )

    def _watch_progress(self) -> None:
        """A disk that hangs must not hang the callers: without progress for a while the log counts as failed."""
        self._watch = None
        if not self._queue and not self._inflight:
            return
        if self._watched == self.acknowledged:
            self._failed = self._failed or f"the disk did not answer for {_STALLED_S:.0f} seconds"
            self._fail_waiters()
            return
        self._watched = self.acknowledged
        self._watch = self._loop.call_later(_STALLED_S, self._watch_progress)

    def _fail_waiters(self) -> None:
        # On the loop's thread, like put(): no future can slip in between.
        waiters = self._inflight + [waiter for _, _, waiter, _ in self._queue if waiter is not None]
        self._queue.clear()
        self._settle(waiters, self._refusal(self._failed))

    @staticmethod
    def _settle(waiters: list[_Waiter], error: NotRecordedError | None) -> None:
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    # --- the writer thread's side -------------------------------------------

    def _run(self) -> None:
        try:
            while not (self._stopping and not self._queue):
                self._wake.wait(self._patience())
                self._wake.clear()
                if self._failed:
                    return  # the callers were already told
                self._write_batch()
                if self._segments.must_seal():
                    self._segments.seal()
                self._check_space()
            self._segments.seal(last=True)
        except BaseException as e:  # noqa: BLE001 - any error is final: after a failed sync nothing may be retried
            self._failed = f"{type(e).__name__}: {e}"
            self._on_loop(self._fail_waiters)
        finally:
            _living.discard(self)
            if self._sink is not None:
                self._sink.close()
            self._release_lock()

    def _patience(self) -> float:
        if self._queue:
            return 0.0
        return min(self._segments.patience(), _SPACE_CHECK_S if self._full else 60.0)

    def _write_batch(self) -> None:
        batch: list[tuple[str, bytes]] = []
        waiters: list[_Waiter] = []
        routine = True
        size = 0
        self._inflight = waiters  # before anything leaves the queue, so that a failure finds every future
        for _ in range(min(len(self._queue), _MAX_BATCH)):
            tenant, body, waiter, is_routine = self._queue.popleft()
            batch.append((tenant, body))
            size += len(body)
            routine = routine and is_routine
            if waiter is not None:
                waiters.append(waiter)
        if not batch:
            self._segments.extend_lineage({})
            return
        by_tenant = self._segments.commit(batch)
        if self._sink is not None:
            self._sink.commit(self.writer, by_tenant)
        self._segments.schedule_seal(routine=routine)
        self._bytes_out += size
        self.acknowledged += len(batch)
        self.commits += 1
        self._inflight = []
        if waiters:
            self._on_loop(lambda: self._settle(waiters, None))
        self._segments.extend_lineage(by_tenant)

    def _on_loop(self, action: Callable[[], None]) -> None:
        # A loop that is closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(action)

    def _check_space(self) -> None:
        found = os.statvfs(self.folder.wal)
        free = found.f_bavail * found.f_frsize
        short = f"only {free >> 20} MiB are free on its disk and {self._min_free >> 20} MiB must stay free"
        self._full = short if free < self._min_free else ""

    def _release_lock(self) -> None:
        fd, self._lock_fd = self._lock_fd, -1
        if fd < 0:
            return
        if not self._failed:
            self.folder.lock_of(self.writer).unlink(missing_ok=True)
        os.close(fd)


def _encode(tenant: str, record: JSON) -> bytes:
    if record.get("kind") not in KINDS:
        raise MisuseError(f"A record of kind {record.get('kind')!r} was given.", hint="Use a builder of audit.records.")
    if record.get("tenant") != tenant:
        record = {**record, "tenant": tenant}
    try:
        body = orjson.dumps(record)
    except TypeError:
        body = orjson.dumps(plain(record))
    body = hide_bytes(body)  # whoever brought it here: no secret that this process has read is recorded
    if len(body) > _MAX_RECORD_BYTES:
        raise MisuseError(
            f"A record of {len(body)} bytes was given; {_MAX_RECORD_BYTES} is the most.",
            hint="Builders of audit.records bound every value.",
        )
    return body


def _take_writer_id(folder: AuditFolder) -> tuple[str, int]:
    """A new writer id and the descriptor that holds its lock."""
    while True:
        writer = new_writer_id()
        path = folder.lock_of(writer)
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and path.stat().st_ino == os.fstat(fd).st_ino:
                return writer, fd
        except BlockingIOError:
            pass  # somebody who looks for dead writers holds it for a moment and will remove it: take another id
        os.close(fd)


_living: weakref.WeakSet[AuditLog] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """A child must neither write with the parent's id nor keep the parent's lock alive."""
    for log in list(_living):
        log._failed = _AFTER_FORK
        fd, log._lock_fd = log._lock_fd, -1
        if fd >= 0:
            os.close(fd)


os.register_at_fork(after_in_child=_after_fork_in_child)
