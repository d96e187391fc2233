"""`Workbench`: the one synchronous façade, for scripts, notebooks, the app and the command line.

Each method runs a verb of its `Backend` on an event loop in the background.
"""

from __future__ import annotations

import atexit
import functools
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from workbench.agent import ProviderStatus
from workbench.client.attached import AttachedBackend, MissingScopeError, Progress
from workbench.client.backend import Backend
from workbench.client.background_loop import BackgroundLoop
from workbench.client.embedded import EmbeddedBackend
from workbench.client.example_questions import examples
from workbench.client.history import recorded_call, recorded_run
from workbench.client.pending_call import PendingCall
from workbench.client.record_queries import ExportFormat, RecordQueries
from workbench.client.results import Result, Run, SavedQuestions, Servers, Tools
from workbench.config import Settings, prepare_home
from workbench.events import JSON, AnyRunEvent, MisuseError, Source, UnreachableError
from workbench.platform.changed_definitions import ChangedDefinition
from workbench.platform.conversation_turns import check_question
from workbench.platform.platform import Platform
from workbench.platform.run_file import RunningPlatform, at_url, find_running
from workbench.policy import Approval
from workbench.policy.approvals.standing_approvals import StandingApproval, StandingTerms
from workbench.registry import ConfigurationRemarks, ReloadResult, ServerState, VaryingAcceptance

if TYPE_CHECKING:
    from workbench.audit import Reader, SavedQuestion, Verification
    from workbench.audit.query.engine import SqlEngine
    from workbench.client.data_frame import Frame


def open(
    *,
    url: str | None = None,
    token: str | None = None,
    home: str | Path | None = None,
    data: str | Path | None = None,
    config: str | Path | None = None,
    attach: bool | None = None,
    source: Source = "notebook",
    **settings: Any,
) -> Workbench:
    """Open a workbench: attach to the platform that runs on this state folder, else start an embedded one.

    Args:
        url: a platform elsewhere to attach to; default the setting `url`, unless `home` is given.
        token: a key or access token for it; default `WORKBENCH_TOKEN`.
        home: state folder; default `WORKBENCH_HOME` or `.workbench` in the working directory.
        data: a folder of CSV, Parquet and JSON files to serve as tables. Only an embedded platform can take it.
        config: an `mcp.json` with further servers. Only an embedded platform can take it.
        attach: True requires a running platform, False never attaches, None prefers one.
        source: the door to name in the record.
        settings: any other setting of `workbench.config.Settings`.

    Raises:
        MisuseError: a setting cannot be meant, or it would change a platform that already runs.
        UnreachableError: `attach=True` and no platform runs.
    """
    given = {"home": home, "data": data, "mcp_config": config, **settings}
    loaded = Settings.load(url=url, **given)
    if loaded.url and attach is not False:
        return _open_elsewhere(loaded, token, source, [k for k, v in given.items() if v is not None])
    running = find_running(loaded.home) if attach is not False else None
    if running is not None:
        changes = sorted(k for k, v in given.items() if v is not None and k != "home")
        if changes and attach is not True:
            running = None  # an embedded platform beside it, sharing the record
        elif changes:
            raise MisuseError(
                f"A platform already runs at {running.url}; {', '.join(changes)} cannot be changed from here.",
                hint="Stop it, or open with attach=False for an embedded one beside it.",
            )
    if running is not None:
        return Workbench(loaded, lambda: _attached(running, source))
    if attach:
        raise UnreachableError(f"No platform runs on {loaded.home}.", hint="Start one with `workbench up`.")
    prepare_home(loaded.home)
    return Workbench(loaded, functools.partial(_embedded, loaded, source))


def _open_elsewhere(loaded: Settings, token: str | None, source: Source, changes: list[str]) -> Workbench:
    if changes:
        raise MisuseError(
            f"{', '.join(sorted(changes))} cannot be changed of the platform at {loaded.url}.",
            hint="Give either url or settings of a platform of your own.",
        )
    running = at_url(loaded.url, os.environ.get("WORKBENCH_TOKEN", "") if token is None else token)
    return Workbench(loaded, lambda: _attached(running, source))


async def _attached(running: RunningPlatform, source: Source) -> Backend:
    backend = AttachedBackend(running, source)
    try:
        await backend.status()
    except MissingScopeError:  # it is there and knows the token, which may be for the record alone
        pass
    except BaseException:
        await backend.close()
        raise
    return backend


def _close_at_exit(bench: Workbench) -> None:
    """Close what its script did not close, while threads can still be used; otherwise the process would never exit."""
    reference = weakref.ref(bench)

    def close() -> None:
        if (left := reference()) is not None:
            left.close()

    # `atexit` comes too late: the executors that closing needs are shut down before it
    getattr(threading, "_register_atexit", atexit.register)(close)


async def _embedded(settings: Settings, source: Source) -> Backend:
    return EmbeddedBackend(await Platform.open(settings), source)


class Workbench:
    """Servers, tools, questions and the record of one state folder. Use `workbench.open()`; close it, or use `with`."""

    def __init__(self, settings: Settings, connect: Callable[[], Awaitable[Backend]]) -> None:
        self.settings = settings
        self._loop = BackgroundLoop()
        try:
            self._backend = self._loop.run(connect)
        except BaseException:
            self._loop.abandon()
            raise
        self._record = RecordQueries(settings, self._backend, self._loop)
        _close_at_exit(self)

    # --- servers and tools ------------------------------

    @property
    def embedded(self) -> bool:
        """Whether the platform lives in this process."""
        return self._backend.running is None

    @property
    def running(self) -> RunningPlatform | None:
        """Addresses and token of the platform that this is attached to; None when it lives in this process."""
        return self._backend.running

    def status(self) -> JSON:
        """State of the platform: version, caller, servers, log and runs."""
        return self._loop.run(self._backend.status)

    def servers(self) -> Servers:
        """All servers with their health."""
        return Servers(self._loop.run(self._backend.servers))

    def configuration(self) -> ConfigurationRemarks:
        """Problems of the configuration files as a whole; those of one server are in its state (see `servers`)."""
        return self._loop.run(self._backend.configuration)

    def tools(self, words: str = "", *, limit: int = 20, profile: str = "") -> Tools:
        """The tools that you may call, or the best matches for `words`, by words and meaning.

        Args:
            words: what to search for; empty lists all tools.
            limit: most matches of a search.
            profile: only the tools of this profile.
        """
        return Tools(self._loop.run(self._backend.tools, words, limit, profile))

    def profiles(self) -> JSON:
        """The profiles, each with the tools that you may call and the path of its endpoint, under `profiles`.

        `problems` says what is wrong with their file.
        """
        return self._loop.run(self._backend.profiles)

    def call(self, tool: str, /, *, timeout: float | None = None, **arguments: Any) -> Result:
        """Call `server.tool`. A tool's failure is a value: look at `result.ok`.

        Args:
            tool: qualified name, e.g. `payments.list_invoices`.
            timeout: seconds to wait; default the setting `call_timeout`.
            arguments: the tool's arguments.

        Raises:
            NotRecordedError: the record cannot be written, so nothing is answered.
            UnreachableError: the platform went away.
        """
        return self.call_with(tool, arguments, timeout=timeout)

    def call_with(self, tool: str, arguments: JSON, *, timeout: float | None = None, profile: str = "") -> Result:
        """As `call`, with the arguments in a dictionary, for names that are no Python identifiers.

        Args:
            tool: qualified name.
            arguments: the tool's arguments.
            timeout: seconds to wait; default the setting `call_timeout`.
            profile: call the tool through this profile, which must contain it.
        """
        return Result(tool, arguments, self._loop.run(self._backend.call, tool, arguments, timeout, profile))

    def start_call(self, tool: str, arguments: JSON, *, timeout: float | None = None) -> PendingCall:
        """Start a call and return at once; wait for its result or cancel it with the `PendingCall`."""
        return PendingCall(tool, arguments, self._loop.start(self._backend.call, tool, arguments, timeout))

    def restart(self, server: str) -> ServerState:
        """Restart a server; returns its state once it is ready or has failed again."""
        return self._loop.run(self._backend.restart, server)

    def reload_servers(self) -> ReloadResult:
        """Read the configuration files again: start new servers, end removed ones, restart changed ones.

        Returns when the started servers are ready or have failed, or after 20 seconds.

        Raises:
            MisuseError: the configuration is not valid; nothing was changed.
        """
        return self._loop.run(self._backend.reload_servers)

    def changed_definitions(self) -> list[ChangedDefinition]:
        """Quarantined tools: those whose definition changed since it was accepted, each with its `diff`."""
        return self._loop.run(self._backend.changed_definitions)

    def accept_definition(self, tool: str, hash: str, *, varying: bool = False) -> None:
        """Accept the changed definition of a quarantined tool, so that it can be called again.

        Args:
            tool: qualified name.
            hash: hash of the definition that you looked at.
            varying: also accept later versions that differ only where `ChangedDefinition.varying` shows.

        Raises:
            MisuseError: the tool is not quarantined, has changed once more, or cannot be accepted with `varying`.
        """
        self._loop.run(self._backend.accept_definition, tool, hash, varying)

    def varying_acceptances(self) -> list[VaryingAcceptance]:
        """Definitions that were accepted with `varying=True`."""
        return self._loop.run(self._backend.varying_acceptances)

    def revoke_varying_acceptance(self, tool: str) -> None:
        """Revoke such an acceptance. The tool is quarantined unless its definition is the one accepted last.

        Args:
            tool: qualified name.

        Raises:
            MisuseError: the tool has no such acceptance.
        """
        self._loop.run(self._backend.revoke_varying, tool)

    # --- questions ------------------------------

    def ask(
        self,
        question: str,
        *,
        provider: str | None = None,
        model: str | None = None,
        history: Sequence[JSON] = (),
        on_event: Callable[[AnyRunEvent], None] | None = None,
        profile: str = "",
    ) -> Run:
        """Answer a question with tools; returns the finished run, which renders as a readable trace.

        Args:
            provider: a name that `providers()` lists; default the first that is ready.
            model: model of that provider.
            history: earlier turns, as `{"role": "user" | "assistant", "text": …}`.
            on_event: called with every step as it happens. Interrupting (Ctrl-C) cancels the run.
            profile: answer with the tools of this profile alone.

        Raises:
            MisuseError: there is no question, or it is too long.
        """
        events = []
        for event in self.ask_stream(question, provider=provider, model=model, history=history, profile=profile):
            events.append(event)
            if on_event is not None:
                on_event(event)
        return Run(events)

    def ask_stream(
        self, question: str, *, provider: str | None = None, model: str | None = None, history: Sequence[JSON] = (),
        profile: str = "",
    ) -> Iterator[AnyRunEvent]:  # fmt: skip
        """As `ask`, one event at a time. Closing the iterator cancels the run."""
        check_question(question)
        return self._loop.iterate(
            lambda: self._backend.ask(question, provider=provider, model=model, history=history, profile=profile)
        )

    def examples(self) -> tuple[str, ...]:
        """Example questions for the servers that are ready."""
        return examples(self.servers())

    def cancel(self, run: str) -> bool:
        """Cancel a run by its id; False when no such run is under way."""
        return self._loop.run(self._backend.cancel, run)

    def providers(self) -> list[ProviderStatus]:
        """The providers that can answer questions, and why each is ready or not."""
        return self._loop.run(self._backend.providers)

    # --- approvals ------------------------------

    def approvals(self) -> list[Approval]:
        """Calls that wait for a person's decision."""
        return self._loop.run(self._backend.approvals)

    def approve(
        self,
        approval: str,
        *,
        note: str = "",
        arguments: JSON | None = None,
        args_hash: str = "",
        standing: JSON | None = None,
    ) -> Approval:
        """Approve exactly this call: its caller may make it once, within 15 minutes.

        Args:
            approval: id of the approval.
            note: why, for the record.
            arguments: approve the call with these arguments instead.
            args_hash: hash of the arguments that you looked at; required when somebody else has changed them.
            standing: terms on which the caller may repeat the call without asking: `uses`, `seconds`, and `patterns`,
                JSON pointer → `{"enum": […]}`, `{"prefix": …}` or `{"range": [lowest, highest]}`.
        """
        terms = None if standing is None else _terms(standing)
        return self._loop.run(self._backend.decide, approval, True, note, arguments, args_hash, terms)

    def standing_approvals(self) -> list[StandingApproval]:
        """Standing approvals: calls that may be repeated without asking, with the uses and the time that are left."""
        return self._loop.run(self._backend.standing_approvals)

    def revoke_standing_approval(self, id: str) -> StandingApproval:
        """Revoke a standing approval at once, at every gateway."""
        return self._loop.run(self._backend.revoke_standing, id)

    def deny(self, approval: str, *, note: str = "") -> Approval:
        """Deny this call."""
        return self._loop.run(self._backend.decide, approval, False, note)

    # --- the record ------------------------------

    @property
    def elsewhere(self) -> bool:
        """Whether the platform is on another machine, so that the files of its record cannot be read from here."""
        return self._record.elsewhere

    @property
    def reader(self) -> Reader:
        """DuckDB over the files of the record, in this process.

        Raises:
            MisuseError: the platform is elsewhere.
        """
        return self._record.reader

    @property
    def engine(self) -> SqlEngine:
        """What answers SQL here: the reader of the files, or the platform elsewhere."""
        return self._record.engine

    @property
    def fleet(self) -> SqlEngine:
        """What answers SQL over the records of all gateways that share `audit_catalog` or `audit_engine`.

        Raises:
            MisuseError: neither is set.
            UnreachableError: it does not answer.
        """
        return self._record.fleet

    def sql(
        self,
        query: str,
        parameters: Any = None,
        *,
        max_rows: int | None = None,
        timeout: float = 30.0,
        fleet: bool = False,
    ) -> Frame:
        """Run one read-only SQL statement over the record; returns a DataFrame.

        Args:
            query: SELECT, FROM, WITH, DESCRIBE or SUMMARIZE over the tables of the record.
            parameters: values for `?` (a sequence) or `$name` (a mapping).
            max_rows: most rows to return; the rest is cut off.
            timeout: seconds after which it is stopped. Interrupting (Ctrl-C) stops it too, wherever it runs.
            fleet: query the records of all gateways that share a catalog, up to their last compaction.

        Raises:
            MisuseError: the query is not one read-only statement, or DuckDB refuses it; the message says where.
        """
        from workbench.client.data_frame import frame

        if not isinstance(query, str):
            raise MisuseError(
                f"The statement is {query!r}.", hint='Expected SQL as text, e.g. "select * from tool_calls".'
            )

        engine = self.fleet if fleet else self.engine
        return frame(engine.sql(query, parameters, max_rows=max_rows, timeout_s=timeout))

    def questions(self) -> list[SavedQuestion]:
        """The saved questions to the record; `question(name)` runs one."""
        from workbench.audit import questions

        return SavedQuestions(questions())

    def question(self, name: str, /, *, timeout: float = 30.0, **parameters: Any) -> Frame:
        """Run a saved question, e.g. `wb.question("slowest_tools", hours=1)`.

        Args:
            name: name of the question (see `questions`).
            timeout: seconds after which it is stopped.
            parameters: parameters of the question that differ from their defaults.

        Raises:
            MisuseError: no such question, or it has no such parameter; the message says which there are.
        """
        from workbench.audit.query.saved_questions import saved_question

        asked = saved_question(name)
        return self.sql(asked.sql, asked.filled(parameters), timeout=timeout)

    def export(
        self,
        path: str | Path,
        table: str = "calls",
        *,
        format: ExportFormat | None = None,
        since: str | None = None,
        until: str | None = None,
        progress: Progress | None = None,
    ) -> Path:
        """Write one table of the record to a file, which appears whole or not at all; returns its path.

        Args:
            path: the file; its suffix gives the format unless `format` does.
            table: `calls`, or a table of the record.
            format: csv, parquet or jsonl.
            since: ISO 8601 time, inclusive, UTC.
            until: ISO 8601 time, exclusive; default now.
            progress: called with what is done and the total: rows, or bytes and 0 from a platform elsewhere.

        Raises:
            MisuseError: no such table or format, or a time that is not ISO 8601.
            OSError: the file cannot be written.
        """
        return self._record.export(Path(path), table, format, since, until, progress)

    def recorded_call(self, call: str) -> Result | None:
        """A finished call, read back from the record, arguments and answer redacted; None when there is none."""
        return recorded_call(self.engine, call)

    def recorded_run(self, run: str) -> Run | None:
        """A finished run, read back from the record; None when there is none of that id."""
        return recorded_run(self.engine, run)

    def verify(self, *, deep: bool = False, progress: Callable[..., None] | None = None) -> Verification:
        """Check that nothing in the record was altered or removed.

        Args:
            deep: check every line of every chain, not only sealed files.
            progress: called while the check goes on.

        Raises:
            MisuseError: the platform is on another machine; only its files can prove anything.
        """
        return self._record.verify(deep=deep, progress=progress)

    def record_load(self, run: JSON, requests: Sequence[JSON]) -> None:
        """Record a load run, in the tables `load_runs` and `load_requests`."""
        self._loop.run(self._backend.record_load, run, requests)

    # --- life ------------------------------

    def close(self) -> None:
        """Close the workbench. An embedded platform is stopped; one that it was attached to runs on."""
        self._record.close()
        self._loop.close(self._backend.close)

    def __enter__(self) -> Workbench:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = "" if self.elsewhere else f", state in {self.settings.home}"
        return f"<Workbench {self._backend.where}{where}>"


def _terms(given: JSON) -> StandingTerms:
    try:
        return msgspec.convert(given, StandingTerms)
    except msgspec.ValidationError as e:
        raise MisuseError(
            f"The terms of a standing approval cannot be read: {e}.",
            hint='Expected e.g. {"uses": 20, "seconds": 3600, "patterns": {"/amount": {"range": [0, 100]}}}.',
        ) from e
