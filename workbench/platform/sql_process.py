"""SQL over the record in processes of their own, for doors that live in the gateway's process.

Analytical SQL beside the log's writer lifts the time to acknowledge a record from under one millisecond to more than
ten, so the platform never runs it itself. A child reads requests from its standard input and ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import struct
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson

from workbench.audit.fleet.fleet import open_fleet
from workbench.bounded_dict import BoundedDict
from workbench.config import Settings
from workbench.events import JSON, MisuseError, UnreachableError

if TYPE_CHECKING:
    import pyarrow as pa

    from workbench.audit.query.engine import SqlEngine

AnswerForm = Literal["arrow", "json"]

MAX_PROCESSES = 2
MAX_WAITING = 16
"""Queries that may wait for a free process; further ones are turned away."""

MAX_BYTES = 64 << 20
"""Largest answer, encoded."""

MAX_MEMORY = 4 << 30
"""Address space of a child. DuckDB keeps to far less, but not inside of one function: `repeat('x', 2000000000)`."""

GRACE_S = 3.0
"""A child that has not stopped its statement so long after it should have is ended: functions are not interrupted."""

START_TIMEOUT_S = 10.0
"""What a new child may take besides, on a busy machine."""

STEADY_S = 1.0
"""A child that ended sooner is not started again before it is needed: it would end again."""

_MAX_READERS = 8
_LENGTH = struct.Struct(">IB")  # size of the payload, 1 when it is an error


class SqlProcess:
    """Two children at most, each with one DuckDB per tenant; started when needed, and again at once when they died.

    Args:
        home: the state folder.
        told: called with what happened to them, and with details.
    """

    def __init__(self, home: Path, told: Callable[[str, JSON], None] = lambda event, detail: None) -> None:
        self._idle = [_Child(home, told) for _ in range(MAX_PROCESSES)]
        self._children = tuple(self._idle)
        self._free = asyncio.Semaphore(MAX_PROCESSES)
        self._waiting = 0

    async def query(
        self,
        sql: str,
        parameters: Any = None,
        *,
        tenant: str | None,
        max_rows: int = 10_000,
        timeout_s: float = 30.0,
    ) -> pa.Table:
        """Run one read-only statement over the rows of `tenant` (None: all tenants).

        Raises:
            MisuseError: not one read-only statement, or DuckDB refuses it.
            QueryStoppedError: it took too long, or needed too much memory.
            UnreachableError: the child died, or too many queries wait; the next query starts another.
        """
        import pyarrow as pa

        payload = await self.encoded(sql, parameters, tenant=tenant, max_rows=max_rows, timeout_s=timeout_s)
        return pa.ipc.open_stream(payload).read_all()

    async def encoded(
        self,
        sql: str,
        parameters: Any = None,
        *,
        tenant: str | None,
        max_rows: int = 10_000,
        timeout_s: float = 30.0,
        form: AnswerForm = "arrow",
        fleet: bool = False,
    ) -> bytes:
        """As `query`, with the answer as an Arrow IPC stream, or as JSON: `columns`, `rows`, `truncated`.

        Args:
            fleet: over all gateways that share a catalog or a server, see `audit_catalog` and `audit_engine`.

        Cancelling ends the child that runs the statement.
        """
        request = {
            "sql": sql, "parameters": parameters, "tenant": tenant, "max_rows": max_rows, "timeout_s": timeout_s,
            "form": form, "fleet": fleet,
        }  # fmt: skip
        async with self._child() as child:
            failed, payload = await child.ask(request, timeout_s)
        if failed:
            from workbench.audit import QueryStoppedError

            error = orjson.loads(payload)
            kinds = {kind.error_kind: kind for kind in (QueryStoppedError, UnreachableError)}
            raise kinds.get(error["kind"], MisuseError)(error["message"], hint=error["hint"])
        return payload

    @contextlib.asynccontextmanager
    async def _child(self) -> AsyncIterator[_Child]:
        if self._waiting >= MAX_WAITING + MAX_PROCESSES:
            raise UnreachableError(f"{MAX_WAITING} queries of the record wait already.", hint="Ask again in a moment.")
        self._waiting += 1
        try:
            async with self._free:
                child = self._idle.pop()
                try:
                    yield child
                finally:
                    self._idle.append(child)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """End the children."""
        for child in self._children:
            await child.kill()


class _Child:
    def __init__(self, home: Path, told: Callable[[str, JSON], None]) -> None:
        self._home = home
        self._told = told
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._answered = False

    async def ask(self, request: JSON, timeout_s: float) -> tuple[bool, bytes]:
        seconds = timeout_s + GRACE_S + (0 if self._answered else START_TIMEOUT_S)
        try:
            found = await asyncio.wait_for(self._exchange(request), seconds)
            self._answered = True
            return found
        except TimeoutError as e:
            from workbench.audit import QueryStoppedError

            await self.kill()  # its answer would be taken for the next one's
            raise QueryStoppedError(
                f"The query took longer than {timeout_s:g} s.", hint="Narrow it, e.g. by time."
            ) from e
        except (asyncio.IncompleteReadError, ConnectionError) as e:
            await self.kill()
            raise UnreachableError(
                "The process that reads the record ended.", hint="Ask again; for less, if it happens again."
            ) from e
        except asyncio.CancelledError:
            await self.kill()
            raise

    async def _exchange(self, request: JSON) -> tuple[bool, bytes]:
        if self._process is None or self._process.returncode is not None:
            await self._start()
        assert self._process is not None
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(orjson.dumps(request) + b"\n")
        await stdin.drain()
        size, failed = _LENGTH.unpack(await stdout.readexactly(_LENGTH.size))
        return bool(failed), await stdout.readexactly(size)

    async def _start(self) -> None:
        self._answered = False
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "workbench.platform.sql_process", str(self._home),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self._keeper = asyncio.create_task(self._keep(process), name="keeper of the SQL process")

    async def _keep(self, process: asyncio.subprocess.Process) -> None:
        """Replace a child that somebody else ended; one that does not live for a second waits for the next query."""
        clock = asyncio.get_running_loop().time
        began = clock()
        status = await process.wait()
        if self._process is not process:
            return
        self._process = None
        self._told("sql_process_ended", {"pid": process.pid, "status": status})
        if clock() - began > STEADY_S:
            await self._start()

    async def kill(self) -> None:
        process, self._process = self._process, None
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


# --- the child's side --------------------------------------------------------


def _serve(home: Path) -> None:
    with contextlib.suppress(OSError):
        os.nice(5)
    with contextlib.suppress(OSError, ValueError):  # not every system can
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    readers: Readers = BoundedDict(_MAX_READERS, dropped=lambda _, reader: reader.close())
    for line in sys.stdin.buffer:
        request = orjson.loads(line)
        try:
            failed, payload = 0, _answer(_reader(readers, home, request["tenant"], request["fleet"]), request)
        except (MisuseError, UnreachableError) as e:
            failed, payload = 1, orjson.dumps({"message": e.args[0], "hint": e.hint, "kind": e.error_kind})
        sys.stdout.buffer.write(_LENGTH.pack(len(payload), failed) + payload)
        sys.stdout.buffer.flush()


Readers = BoundedDict[tuple[str | None, bool], "SqlEngine"]


def _reader(readers: Readers, home: Path, tenant: str | None, fleet: bool) -> SqlEngine:
    from workbench.audit import Reader

    asked = (tenant, fleet)
    reader = readers.use(asked)
    if reader is None:
        readers.make_room()
        reader = readers[asked] = open_fleet(Settings.load(home=home), tenant) if fleet else Reader(home, tenant=tenant)
    return reader


def _answer(reader: SqlEngine, request: JSON) -> bytes:
    from workbench.audit import QueryStoppedError

    table = reader.sql(
        request["sql"], request["parameters"], max_rows=request["max_rows"], timeout_s=request["timeout_s"]
    )
    if table.nbytes <= MAX_BYTES:
        payload = _json_bytes(table) if request["form"] == "json" else _arrow_bytes(table)
        if len(payload) <= MAX_BYTES:
            return payload
    raise QueryStoppedError(f"The answer has more than {MAX_BYTES >> 20} MiB.", hint="Ask for less, or use an export.")


def _json_bytes(table: pa.Table) -> bytes:
    from workbench.audit.query.reader import TRUNCATED

    answer = {
        "columns": [{"name": field.name, "type": str(field.type)} for field in table.schema],
        "rows": table.to_pylist(),
        "truncated": TRUNCATED in (table.schema.metadata or {}),
    }
    return orjson.dumps(answer, default=_plain, option=orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z)


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _arrow_bytes(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        _serve(Path(sys.argv[1]))
