"""The record for callers over HTTP: their own tenant's rows, in processes of their own, and every look is recorded."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from datetime import UTC
from typing import TYPE_CHECKING, Any

import orjson

from workbench.audit.format import records
from workbench.events import JSON, Caller, MisuseError, UnreachableError
from workbench.platform.timestamps import microseconds

if TYPE_CHECKING:
    from workbench.audit.query.export import ExportFormat
    from workbench.platform.platform import Platform
    from workbench.platform.sql_process import AnswerForm

MAX_EXPORTS = 2
_CHUNK = 1 << 16


class RecordDesk:
    """Answers queries and exports of one platform's record."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._exports = 0

    async def calls(
        self, caller: Caller, *, user: str | None, since: str | None, until: str | None, limit: int
    ) -> list[JSON]:
        """Calls of the caller's tenant, newest first.

        Raises:
            MisuseError: a time that does not read.
        """
        wanted = {
            "user_id = $user": ("user", user),
            "ts >= make_timestamp($since::bigint)": ("since", None if since is None else microseconds(since)),
            "ts < make_timestamp($until::bigint)": ("until", None if until is None else microseconds(until)),
        }
        used = {condition: pair for condition, pair in wanted.items() if pair[1] is not None}
        where = f"where {' and '.join(used)} " if used else ""
        query = f"select * from tool_calls {where}order by ts desc limit {int(limit)}"
        table = await self._platform.sql.query(query, dict(used.values()) or None, tenant=caller.tenant, max_rows=limit)
        # the column has no zone; without one, whoever reads the answer takes it for their own
        return [{**row, "ts": row["ts"].replace(tzinfo=UTC)} for row in table.to_pylist()]

    async def sql(
        self,
        caller: Caller,
        sql: str,
        parameters: Any,
        *,
        max_rows: int,
        timeout_s: float,
        form: AnswerForm,
        fleet: bool = False,
    ) -> bytes:
        """The answer to one statement over the rows of the caller's tenant, encoded.

        Args:
            fleet: over all gateways that share a catalog.

        Raises:
            MisuseError: the statement is refused, or was stopped.
            NotRecordedError: that it was asked cannot be recorded.
            UnreachableError: too many queries wait.
        """
        asked = {"sql": sql, "parameters": parameters}
        await self._note("sql", {**asked, "fleet": True} if fleet else asked, caller)
        return await self._platform.sql.encoded(
            sql, parameters, tenant=caller.tenant, max_rows=max_rows, timeout_s=timeout_s, form=form, fleet=fleet
        )

    async def export(
        self, caller: Caller, *, table: str, format: ExportFormat, since: str | None, until: str | None
    ) -> AsyncIterator[bytes]:
        """An export of the caller's tenant, as its bytes come. Closing the iterator ends the work.

        Raises:
            MisuseError: no such table, or a time that does not read; before the first bytes.
            UnreachableError: too many exports run, or this one broke off.
        """
        from workbench.audit.query.export import table_of

        name = table_of(table)
        span = {"--since": microseconds(since), "--until": microseconds(until)}
        if self._exports >= MAX_EXPORTS:
            raise UnreachableError(f"{MAX_EXPORTS} exports run already.", hint="Try again when one of them is done.")
        self._exports += 1
        try:
            await self._note("export", {"table": name, "format": format, "since": since, "until": until}, caller)
            arguments = ["--table", name, "--format", format, f"--tenant={caller.tenant}"]
            arguments += [part for option, value in span.items() for part in (option, str(value))]
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "workbench.audit.query.export", str(self._platform.settings.home), *arguments,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            try:
                async for chunk in _output(process):
                    yield chunk
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        finally:
            self._exports -= 1

    async def _note(self, action: str, detail: JSON, caller: Caller) -> None:
        platform = self._platform
        kept = platform.policy.redactor.record(detail, caller.tenant)
        await platform.audit.write(caller.tenant, records.administration(action, kept, caller, tenant=caller.tenant))


async def _output(process: asyncio.subprocess.Process) -> AsyncIterator[bytes]:
    assert process.stdout is not None
    assert process.stderr is not None
    while chunk := await process.stdout.read(_CHUNK):
        yield chunk
    said = await process.stderr.read()
    if await process.wait():
        with contextlib.suppress(orjson.JSONDecodeError, KeyError):
            error = orjson.loads(said)
            raise MisuseError(error["message"], hint=error["hint"])
        raise UnreachableError("The export broke off.", hint="What was received is not all of it; try again.")
