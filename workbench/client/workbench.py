"""`Workbench`: the one synchronous façade, for scripts, notebooks, the app and the command line.

It owns one event loop on one background thread, so the same object works in a plain script, in a kernel whose own
loop runs, and in Streamlit's script threads.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import queue
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from workbench.agent import ProviderStatus
from workbench.client.attached import AttachedBackend, MissingScopeError
from workbench.client.backend import Backend
from workbench.client.embedded import EmbeddedBackend
from workbench.client.example_questions import examples
from workbench.client.pending_call import PendingCall
from workbench.client.record_queries import RecordQueries
from workbench.client.results import Result, Run, Servers, Tools
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
    from anyio.from_thread import BlockingPortal

T = TypeVar("T")


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


class Workbench(RecordQueries):
    """Servers, tools, questions and the record of one state folder. Use `workbench.open()`; close it, or use `with`."""

    def __init__(self, settings: Settings, connect: Callable[[], Awaitable[Backend]]) -> None:
        from anyio.from_thread import start_blocking_portal

        self.settings = settings
        self._closed = False
        self._stack = contextlib.ExitStack()
        self._portal: BlockingPortal = self._stack.enter_context(start_blocking_portal())
        try:
            self._backend = self._run(connect)
        except BaseException:
            # With the exception, so that the loop's thread cancels what was begun: an interrupt may have come before
            # the task was in our hands, and the thread would wait for it for ever.
            self._stack.__exit__(*sys.exc_info())
            raise
        self._stack.callback(self._portal.call, self._backend.close)
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
        return self._run(self._backend.status)

    def servers(self) -> Servers:
        """All servers with their health."""
        return Servers(self._run(self._backend.servers))

    def configuration(self) -> ConfigurationRemarks:
        """Problems of the configuration files as a whole; those of one server are in its state (see `servers`)."""
        return self._run(self._backend.configuration)

    def tools(self, words: str = "", *, limit: int = 20, profile: str = "") -> Tools:
        """The tools that you may call, or the best matches for `words`, by words and meaning.

        Args:
            words: what to search for; empty lists all tools.
            limit: most matches of a search.
            profile: only the tools of this profile.
        """
        return Tools(self._run(self._backend.tools, words, limit, profile))

    def profiles(self) -> JSON:
        """The profiles, each with the tools that you may call and the path of its endpoint, under `profiles`.

        `problems` says what is wrong with their file.
        """
        return self._run(self._backend.profiles)

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
        return Result(tool, arguments, self._run(self._backend.call, tool, arguments, timeout, profile))

    def start_call(self, tool: str, arguments: JSON, *, timeout: float | None = None) -> PendingCall:
        """Start a call and return at once; wait for its result or cancel it with the `PendingCall`."""
        self._check_open()
        return PendingCall(tool, arguments, self._portal.start_task_soon(self._backend.call, tool, arguments, timeout))

    def restart(self, server: str) -> ServerState:
        """Restart a server; returns its state once it is ready or has failed again."""
        return self._run(self._backend.restart, server)

    def reload_servers(self) -> ReloadResult:
        """Read the configuration files again: start new servers, end removed ones, restart changed ones.

        Returns when the started servers are ready or have failed, or after 20 seconds.

        Raises:
            MisuseError: the configuration is not valid; nothing was changed.
        """
        return self._run(self._backend.reload_servers)

    def changed_definitions(self) -> list[ChangedDefinition]:
        """Quarantined tools: those whose definition changed since it was accepted, each with its `diff`."""
        return self._run(self._backend.changed_definitions)

    def accept_definition(self, tool: str, hash: str, *, varying: bool = False) -> None:
        """Accept the changed definition of a quarantined tool, so that it can be called again.

        Args:
            tool: qualified name.
            hash: hash of the definition that you looked at.
            varying: also accept later versions that differ only where `ChangedDefinition.varying` shows.

        Raises:
            MisuseError: the tool is not quarantined, has changed once more, or cannot be accepted with `varying`.
        """
        self._run(self._backend.accept_definition, tool, hash, varying)

    def varying_acceptances(self) -> list[VaryingAcceptance]:
        """Definitions that were accepted with `varying=True`."""
        return self._run(self._backend.varying_acceptances)

    def revoke_varying_acceptance(self, tool: str) -> None:
        """Revoke such an acceptance. The tool is quarantined unless its definition is the one accepted last.

        Args:
            tool: qualified name.

        Raises:
            MisuseError: the tool has no such acceptance.
        """
        self._run(self._backend.revoke_varying, tool)

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
        return self._stream(
            lambda: self._backend.ask(question, provider=provider, model=model, history=history, profile=profile)
        )

    def examples(self) -> tuple[str, ...]:
        """Example questions for the servers that are ready."""
        return examples(self.servers())

    def cancel(self, run: str) -> bool:
        """Cancel a run by its id; False when no such run is under way."""
        return self._run(self._backend.cancel, run)

    def providers(self) -> list[ProviderStatus]:
        """The providers that can answer questions, and why each is ready or not."""
        return self._run(self._backend.providers)

    # --- approvals ------------------------------

    def approvals(self) -> list[Approval]:
        """Calls that wait for a person's decision."""
        return self._run(self._backend.approvals)

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
        return self._run(self._backend.decide, approval, True, note, arguments, args_hash, terms)

    def standing_approvals(self) -> list[StandingApproval]:
        """Standing approvals: calls that may be repeated without asking, with the uses and the time that are left."""
        return self._run(self._backend.standing_approvals)

    def revoke_standing_approval(self, id: str) -> StandingApproval:
        """Revoke a standing approval at once, at every gateway."""
        return self._run(self._backend.revoke_standing, id)

    def deny(self, approval: str, *, note: str = "") -> Approval:
        """Deny this call."""
        return self._run(self._backend.decide, approval, False, note)

    # --- the record: see also `RecordQueries` ------------------------------

    def record_load(self, run: JSON, requests: Sequence[JSON]) -> None:
        """Record a load run, in the tables `load_runs` and `load_requests`."""
        self._run(self._backend.record_load, run, requests)

    # --- life ------------------------------

    def close(self) -> None:
        """Close the workbench. An embedded platform is stopped; one that it was attached to runs on."""
        self._close_readers()
        self._closed = True
        self._stack.close()

    def __enter__(self) -> Workbench:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = "" if self.elsewhere else f", state in {self.settings.home}"
        return f"<Workbench {self._backend.where}{where}>"

    def _check_open(self) -> None:
        if self._closed:
            raise MisuseError("This workbench is closed.", hint="Open another with workbench.open().")

    def _run(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run a coroutine function on the loop thread; interrupting cancels it."""
        self._check_open()
        future: Future[T] = self._portal.start_task_soon(function, *args)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def _stream(self, source: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
        """An asynchronous iterator as a synchronous one. Leaving it early cancels what it stands for."""
        self._check_open()
        items: queue.SimpleQueue[Any] = queue.SimpleQueue()
        end = object()

        async def pump() -> None:
            try:
                async with contextlib.aclosing(source()) as stream:  # type: ignore[type-var]
                    async for item in stream:
                        items.put(item)
            finally:
                items.put(end)

        future = self._portal.start_task_soon(pump)
        try:
            while (item := items.get()) is not end:
                yield item
            with contextlib.suppress(CancelledError):
                future.result()
        finally:
            if not future.done():
                future.cancel()
                if sys.exc_info()[0] is GeneratorExit:
                    while items.get() is not end:  # let the provider and the tools notice before the caller goes on
                        pass


def _terms(given: JSON) -> StandingTerms:
    try:
        return msgspec.convert(given, StandingTerms)
    except msgspec.ValidationError as e:
        raise MisuseError(
            f"The terms of a standing approval cannot be read: {e}.",
            hint='Expected e.g. {"uses": 20, "seconds": 3600, "patterns": {"/amount": {"range": [0, 100]}}}.',
        ) from e
