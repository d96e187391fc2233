"""Servers come, change, fall silent and go; the registry knows and says so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.registry.conftest import Neighbour, Open, flushed, recorded, tool, until
from workbench.audit import AuditLog
from workbench.config import Settings
from workbench.events import MisuseError
from workbench.registry import (
    Connection,
    LaunchContext,
    Registry,
    ServerDownError,
    ServerSpec,
    UnknownToolError,
    managed_server,
)


def events_of(settings: Settings, server: str) -> list[str]:
    return [r["outcome"] for r in recorded(settings.home) if r["server"] == server]


async def test_tools_of_all_servers_are_listed_in_one_order(open_registry: Open) -> None:
    registry = await open_registry(Neighbour("zoo", tool("b"), tool("a")), Neighbour("art", tool("z"), tool("C")))
    assert [t.qualified for t in registry.tools()] == ["art.C", "art.z", "zoo.a", "zoo.b"]
    assert registry.tools() is registry.tools()
    state = registry.state("zoo")
    assert state is not None
    assert (state.status, state.tools, state.version, state.era) == ("ready", 2, "3.1", "2026-07-28")
    assert state.instructions == "Be kind."
    assert registry.state("moon") is None


async def test_every_page_of_a_list_is_read(open_registry: Open) -> None:
    registry = await open_registry(Neighbour("many", *(tool(f"t{n:03}") for n in range(25)), page=4))
    assert len(registry.tools()) == 25


async def test_a_server_that_does_not_answer_keeps_no_other_from_starting(open_registry: Open) -> None:
    dead, well = Neighbour("dead", tool("x")), Neighbour("well", tool("y"))
    dead.faults.refuses = "Nobody is at home."
    registry = await open_registry(dead, well)
    assert [t.qualified for t in registry.tools()] == ["well.y"]
    state = registry.state("dead")
    assert state is not None
    assert state.status == "failed"
    assert "Nobody is at home." in state.last_error


async def test_start_says_how_each_server_fares(settings: Settings, log: AuditLog) -> None:
    dead, well = Neighbour("dead"), Neighbour("well", tool("y"))
    dead.faults.refuses = "Nobody is at home."
    by_id = {"dead": dead, "well": well}
    registry = Registry(settings, log, lambda spec, launched: by_id[spec.id].connect(), specs=[dead.spec, well.spec])
    lines: list[str] = []
    await registry.start(lines.append)
    await registry.stop()
    assert sorted(lines) == ["dead: failed. Nobody is at home.", "well: ready, 1 tools, memory 2026-07-28"]
    assert {s.status for s in registry.servers()} == {"stopped"}


async def test_start_need_not_wait_for_the_slowest(settings: Settings, log: AuditLog) -> None:
    slow, quick = Neighbour("slow", tool("a")), Neighbour("quick", tool("b"))
    by_id = {"slow": slow, "quick": quick}
    arrives = asyncio.Event()

    def connect(spec: ServerSpec, launched: LaunchContext) -> Connection:
        connection = by_id[spec.id].connect()
        if spec.id == "slow":
            connect_now = connection.open

            async def open_late() -> None:
                await arrives.wait()
                await connect_now()

            connection.open = open_late  # type: ignore[method-assign]
        return connection

    registry = Registry(settings, log, connect, specs=[slow.spec, quick.spec])
    lines: list[str] = []
    await registry.start(lines.append, patience=0.5)
    assert [s.status for s in registry.servers()] == ["starting", "ready"]
    assert len(lines) == 1
    with pytest.raises(ServerDownError, match="Server 'slow' is starting"):
        registry.resolve("slow.a")
    arrives.set()
    await until(lambda: len(lines) == 2)
    assert registry.resolve("slow.a")[0].name == "a"
    await registry.stop()


async def test_stop_does_not_wait_for_a_server_that_is_still_starting(settings: Settings, log: AuditLog) -> None:
    slow = Neighbour("slow", tool("a"))

    def connect(spec: ServerSpec, launched: LaunchContext) -> Connection:
        connection = slow.connect()
        connection.open = asyncio.Event().wait  # type: ignore[assignment, method-assign]
        return connection

    registry = Registry(settings, log, connect, specs=[slow.spec])
    await registry.start(patience=0.01)
    await registry.stop()
    assert registry.servers()[0].status == "stopped"


async def test_a_change_that_nobody_announces_is_found(open_registry: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(managed_server, "RELIST_INTERVAL_S", 0.0)
    crm = Neighbour("crm", tool("pay", "Pays."))
    registry = await open_registry(crm)
    crm.tools = [tool("pay", "Pays somebody else.")]
    await until(lambda: registry.resolve("crm.pay")[0].quarantined)


async def test_a_failed_server_is_tried_again_until_it_comes(
    open_registry: Open, settings: Settings, log: AuditLog
) -> None:
    late = Neighbour("late", tool("x"))
    late.faults.refuses = "Not yet."
    registry = await open_registry(late)
    await until(lambda: registry.servers()[0].restarts >= 2)
    late.faults.refuses = ""
    await until(lambda: registry.servers()[0].status == "ready")
    assert registry.resolve("late.x")[0].name == "x"
    await flushed(log)
    assert {"failed", "restarting", "ready"} <= set(events_of(settings, "late"))


async def test_an_unknown_tool_is_refused_with_what_was_meant(open_registry: Open) -> None:
    registry = await open_registry(Neighbour("crm", tool("search_customers"), tool("get_customer")))
    with pytest.raises(UnknownToolError, match=r"no tool 'crm\.serch_customers'\. Did you mean crm\.search_customers"):
        registry.resolve("crm.serch_customers")
    with pytest.raises(UnknownToolError, match=r"Did you mean crm\.get_customer\?"):
        registry.resolve("get_customer")
    with pytest.raises(UnknownToolError, match="See `workbench tools`"):
        registry.resolve("quite.other")
    assert registry.suggest_server("cmr") == ("crm",)


async def test_a_tool_of_a_server_that_is_down_is_told_from_an_unknown_one(open_registry: Open) -> None:
    crm = Neighbour("crm", tool("x"))
    crm.faults.refuses = "It burns."
    registry = await open_registry(crm)
    with pytest.raises(ServerDownError, match=r"Server 'crm' has failed: It burns\."):
        registry.resolve("crm.x")
    with pytest.raises(ServerDownError):
        registry.connection("crm")


async def test_a_change_of_tools_is_noticed_and_counted(open_registry: Open, settings: Settings, log: AuditLog) -> None:
    crm = Neighbour("crm", tool("a"), tool("b"))
    registry = await open_registry(crm)
    before, heard = registry.version, []
    registry.on_change.append(lambda: heard.append(registry.version))
    crm.tools = [tool("b"), tool("c", "Counts clouds.")]
    crm.announce()
    await until(lambda: registry.version > before)
    assert [t.qualified for t in registry.tools()] == ["crm.b", "crm.c"]
    assert heard == [registry.version]
    await until(lambda: [t.qualified for t, _ in registry.search("clouds")][:1] == ["crm.c"])
    await flushed(log)
    change = [r["data"] for r in recorded(settings.home) if r["outcome"] == "tools_changed"][-1]
    assert (change["added"], change["removed"]) == (["c"], ["a"])


async def test_endless_announcements_do_not_keep_us_busy(open_registry: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    crm = Neighbour("crm", tool("a"))
    await open_registry(crm)
    monkeypatch.setattr(managed_server, "MIN_RELIST_S", 60.0)
    crm.announce()
    await until(lambda: crm.faults.methods.count("tools/list") == 2)
    checked = crm.faults.methods.count("server/discover")
    crm.announce()
    await until(lambda: crm.faults.methods.count("server/discover") > checked + 2)  # its health is watched all the same
    assert crm.faults.methods.count("tools/list") == 2


async def test_an_announcement_without_a_change_changes_nothing(open_registry: Open) -> None:
    crm = Neighbour("crm", tool("a"))
    registry = await open_registry(crm)
    before, listed = registry.version, crm.faults.methods.count("tools/list")
    crm.announce()
    await until(lambda: crm.faults.methods.count("tools/list") > listed)
    checked = crm.faults.methods.count("server/discover")
    await until(lambda: crm.faults.methods.count("server/discover") > checked)
    assert registry.version == before


async def test_tools_stay_known_when_listing_again_fails(
    open_registry: Open, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm = Neighbour("crm", tool("a"))
    registry = await open_registry(crm)
    monkeypatch.setattr(crm.connections[-1], "request", _out_of_time(crm))
    crm.announce()
    await until(lambda: "listing_failed" in events_of(settings, "crm"))
    assert registry.resolve("crm.a")[0].name == "a"


def _out_of_time(crm: Neighbour):  # type: ignore[no-untyped-def]
    request = crm.connections[-1].request

    async def slow_list(method: str, params: dict[str, object], **more: float) -> dict[str, object]:
        if method == "tools/list":
            raise TimeoutError
        return await request(method, params, **more)  # type: ignore[arg-type]

    return slow_list


async def test_a_silent_server_is_down_until_it_answers_again(
    open_registry: Open, settings: Settings, log: AuditLog
) -> None:
    crm = Neighbour("crm", tool("a"))
    registry = await open_registry(crm)
    before = registry.version
    await until(lambda: registry.servers()[0].health_us > 0)
    crm.faults.answers.clear()
    await until(lambda: registry.servers()[0].status == "down")
    assert registry.servers()[0].health_us == 0  # what was measured before says nothing any more
    with pytest.raises(ServerDownError, match="does not answer health checks"):
        registry.resolve("crm.a")
    assert registry.tools() == []
    assert registry.version > before
    crm.faults.answers.set()
    await until(lambda: registry.servers()[0].status == "ready")
    assert registry.servers()[0].last_error == ""
    assert registry.resolve("crm.a")[0].name == "a"
    assert len(crm.connections) == 1  # silence shorter than a call may last is no reason for a restart
    await flushed(log)
    assert [r["outcome"] for r in recorded(settings.home, "health_check")] == ["ok", "failed", "ok"]


async def test_a_server_silent_for_longer_than_any_call_is_brought_up_again(
    open_registry: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm = Neighbour("crm", tool("a"))
    registry = await open_registry(crm, call_timeout=0.05)
    loop = asyncio.get_running_loop()
    now = loop.time
    crm.faults.answers.clear()
    await until(lambda: registry.servers()[0].status == "down")
    monkeypatch.setattr(loop, "time", lambda: now() + 60)
    await until(lambda: registry.servers()[0].restarts > 0)
    crm.faults.answers.set()
    await until(lambda: registry.servers()[0].status == "ready")
    assert len(crm.connections) >= 2


async def test_a_lost_connection_is_opened_once_more(open_registry: Open, settings: Settings, log: AuditLog) -> None:
    crm = Neighbour("crm", tool("a"))
    registry = await open_registry(crm, health_interval=60.0)
    crm.faults.lost = True
    with pytest.raises(ServerDownError, match="connection was just lost"):
        registry.resolve("crm.a")
    await until(lambda: crm.faults.opened == 2)
    await until(lambda: registry.resolve("crm.a") if not crm.faults.lost and crm.connections[-1].alive else None)
    assert registry.servers()[0].restarts == 0
    await flushed(log)
    assert "reconnecting" in events_of(settings, "crm")


async def test_a_lost_connection_that_cannot_be_reopened_means_down(open_registry: Open) -> None:
    crm = Neighbour("crm", tool("a"))
    registry = await open_registry(crm, health_interval=60.0)
    crm.faults.lost, crm.faults.refuses = True, "Gone for good."
    registry.suspect("crm")
    registry.suspect("nobody")
    await until(lambda: registry.servers()[0].status == "down")
    assert "Gone for good." in registry.servers()[0].last_error


async def test_a_refused_health_check_is_a_sign_of_life(open_registry: Open) -> None:
    old = Neighbour("old", tool("a"))
    registry = await open_registry(old)
    connection = old.connections[-1]
    connection.era = "2025-11-25"
    await until(lambda: old.faults.methods.count("ping") > 2)  # which a modern server refuses
    assert registry.servers()[0].status == "ready"


async def test_a_bug_in_a_connection_does_not_end_supervision(
    open_registry: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    crm = Neighbour("crm", tool("a"))
    registry = await open_registry(crm)

    async def broken(*_: object, **__: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(crm.connections[-1], "request", broken)
    monkeypatch.setattr(crm.connections[-1], "close", broken)
    await until(lambda: len(crm.connections) > 1)
    await until(lambda: registry.servers()[0].status == "ready")
    assert registry.servers()[0].last_error == ""
    assert "KeyError: 'oops'" in caplog.text


async def test_restart_on_request(open_registry: Open, settings: Settings) -> None:
    crm = Neighbour("crm", tool("a"))
    registry = await open_registry(crm, health_interval=60.0)
    state = await registry.restart("crm")
    assert (state.status, state.restarts, len(crm.connections)) == ("ready", 1, 2)
    assert "restart_asked" in events_of(settings, "crm")
    crm.faults.refuses = "Not now."
    assert (await registry.restart("crm")).status == "down"
    with pytest.raises(MisuseError, match=r"no server 'cmr'\. Did you mean crm\?"):
        await registry.restart("cmr")


async def test_a_server_without_tools_is_ready(open_registry: Open) -> None:
    from mcp.server.lowlevel import Server

    quiet = Neighbour("quiet")

    class Toolless(type(quiet)):  # type: ignore[misc]
        def connect(self):  # type: ignore[no-untyped-def]
            connection = super().connect()
            connection._server = Server("quiet")
            return connection

    quiet.__class__ = Toolless
    registry = await open_registry(quiet)
    assert registry.servers()[0].status == "ready", registry.servers()[0].last_error
    assert registry.tools() == []


async def test_search_is_limited_to_what_the_caller_may_see(open_registry: Open) -> None:
    registry = await open_registry(
        Neighbour("pay", tool("list_invoices", "All invoices of a customer."), tool("list_payments", "Money received."))
    )
    assert registry.search("invoices of a customer")[0][0].qualified == "pay.list_invoices"
    assert [t.qualified for t, _ in registry.search("invoices", among=["pay.list_payments"])] in (
        [],
        ["pay.list_payments"],
    )
    assert registry.search("invoices", among=[]) == []
    assert len(registry.search("list", limit=1)) == 1


async def test_health_is_measured(open_registry: Open, settings: Settings) -> None:
    registry = await open_registry(Neighbour("crm", tool("a")))
    await until(lambda: registry.servers()[0].health_us > 0)
    await until(lambda: recorded(settings.home, "health_check"))
    first = recorded(settings.home, "health_check")[0]
    assert (first["server"], first["outcome"]) == ("crm", "ok")
    assert first["latency_us"] > 0


async def test_an_unchanged_health_is_not_recorded_at_every_check(
    open_registry: Open, settings: Settings, log: AuditLog
) -> None:
    crm = Neighbour("crm", tool("a"))
    await open_registry(crm)
    await until(lambda: crm.faults.methods.count("server/discover") > 5)
    await flushed(log)
    assert len(recorded(settings.home, "health_check")) == 1


async def test_servers_are_looked_after_while_nothing_can_be_recorded(
    open_registry: Open, log: AuditLog, caplog: pytest.LogCaptureFixture
) -> None:
    crm = Neighbour("crm", tool("a"))
    registry = await open_registry(crm)
    await log.close()
    crm.faults.answers.clear()
    await until(lambda: registry.servers()[0].status == "down")
    assert "was not recorded" in caplog.text


async def test_a_corrupt_control_database_is_refused(settings: Settings, log: AuditLog) -> None:
    (Path(settings.home) / "control.db").write_bytes(b"this is no database, just text" * 50)
    registry = Registry(settings, log, lambda spec, launched: Neighbour("x").connect(), specs=[])
    with pytest.raises(MisuseError, match=r"control\.db is not a readable database"):
        await registry.start()
    await registry.stop()


async def test_nothing_can_be_added_before_start(settings: Settings, log: AuditLog) -> None:
    registry = Registry(settings, log, lambda spec, launched: Neighbour("x").connect(), specs=[])
    with pytest.raises(MisuseError, match="not open"):
        await registry.add(ServerSpec(id="x", kind="url", url="https://example.com/mcp"))
