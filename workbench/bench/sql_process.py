"""SQL over the record in a process of its own, for doors that live in the gateway's process.

Analytical SQL beside the log's writer lifts the time to acknowledge a record from under one millisecond to more than
ten, so the platform never runs it itself. The child reads requests from its standard input and ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from workbench.events import JSON, Misuse, Unreachable

if TYPE_CHECKING:
    import pyarrow as pa

_LENGTH = struct.Struct(">IB")  # size of the payload, 1 when it is an error


class SqlProcess:
    """One child with one DuckDB per tenant; started at the first query and again when it died."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

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
            Misuse: not one read-only statement, or DuckDB refuses it.
            Unreachable: the child died; the next query starts another.
        """
        import pyarrow as pa

        request = {
            "sql": sql, "parameters": parameters, "tenant": tenant, "max_rows": max_rows, "timeout_s": timeout_s,
        }  # fmt: skip
        async with self._turn:
            try:
                failed, payload = await asyncio.wait_for(self._exchange(request), timeout_s + 10)
            except (asyncio.IncompleteReadError, ConnectionError, TimeoutError, asyncio.CancelledError) as e:
                await self._kill()  # its answer would be taken for the next one's
                if isinstance(e, asyncio.CancelledError):
                    raise
                raise Unreachable("The process that reads the record ended.", hint="Ask again.") from e
        if failed:
            error = orjson.loads(payload)
            raise Misuse(error["message"], hint=error["hint"])
        return pa.ipc.open_stream(payload).read_all()

    async def _exchange(self, request: JSON) -> tuple[bool, bytes]:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "workbench.bench.sql_process", str(self._home),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(orjson.dumps(request) + b"\n")
        await stdin.drain()
        size, failed = _LENGTH.unpack(await stdout.readexactly(_LENGTH.size))
        return bool(failed), await stdout.readexactly(size)

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def close(self) -> None:
        """End the child."""
        await self._kill()


def _serve(home: Path) -> None:
    from workbench.audit import Reader

    readers: dict[str | None, Reader] = {}
    for line in sys.stdin.buffer:
        request = orjson.loads(line)
        tenant = request["tenant"]
        try:
            reader = readers.get(tenant)
            if reader is None:
                reader = readers[tenant] = Reader(home, tenant=tenant)
            table = reader.sql(
                request["sql"],
                request["parameters"],
                max_rows=request["max_rows"],
                timeout_s=request["timeout_s"],
            )
            failed, payload = 0, _arrow_bytes(table)
        except Misuse as e:
            failed, payload = 1, orjson.dumps({"message": e.args[0], "hint": e.hint})
        sys.stdout.buffer.write(_LENGTH.pack(len(payload), failed) + payload)
        sys.stdout.buffer.flush()


def _arrow_bytes(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        _serve(Path(sys.argv[1]))
