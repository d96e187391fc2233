"""A process that writes to the record until it is killed, and says on standard output what was acknowledged."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from pathlib import Path

from workbench.audit import AuditLog
from workbench.audit.format import records
from workbench.config import Settings
from workbench.events import Call, Caller, NotRecordedError, Outcome


async def write_forever(home: Path, mode: str, segment_bytes: int, file_limit: int) -> None:
    settings = Settings.load(
        env={}, cwd=home.parent, home=home, audit_mode=mode, audit_segment_bytes=segment_bytes, audit_min_free_bytes=1
    )
    log = await AuditLog.open(settings)
    if file_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    for number in range(10**9):
        batch = []
        for item in range(1 + number % 40):
            tenant = f"t{item % 3}"
            call = Call(caller=Caller(tenant=tenant, subject="child"), tool="s.t")
            outcome = Outcome(kind="ok", call=call.id, tool="s.t")
            record = records.call(call, None, outcome, args_redacted={"n": number}, response_redacted={"x": "y" * 200})
            try:
                batch.append((record["event_id"], log.put(tenant, record)))
            except NotRecordedError as e:
                os.write(1, f"refused {e}\n".encode())
                await log.close()
                return
        results = await asyncio.gather(*(waiter for _, waiter in batch), return_exceptions=True)
        acknowledged = [name for (name, _), result in zip(batch, results, strict=True) if result is None]
        if acknowledged:
            os.write(1, ("\n".join(acknowledged) + "\n").encode())


if __name__ == "__main__":
    asyncio.run(write_forever(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
