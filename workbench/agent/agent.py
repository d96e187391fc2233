"""The agent: who is asked, which runs are under way, how they are stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from workbench.agent.env_file import EnvFile
from workbench.agent.loop import AgentRun, RunRequest, unresolved
from workbench.agent.provider import Message, ProviderStatus
from workbench.agent.provider_choice import Chooser
from workbench.agent.toolbox import Budget, RecordEvent, Toolbox, WaitForApproval
from workbench.config import Settings
from workbench.events import AnyRunEvent, Caller, MisuseError, Source, new_id


class Agent:
    """Answers questions by calling tools. One for all callers; each run has its own state.

    Args:
        toolbox: the gateway, or something of its shape.
        wait_for_approval: asks a person; without it a call that needs one is simply reported to the model.
        record: takes every event before the reader gets it.
        budget: what people's runs of language models may use, beside the setting `token_budget`.
        env: where keys and base URLs are read from; None means the process's environment.
        chooser: who chooses the provider of a run; None: one over `settings` and `env`.
    """

    def __init__(
        self,
        settings: Settings,
        toolbox: Toolbox,
        *,
        wait_for_approval: WaitForApproval | None = None,
        record: RecordEvent | None = None,
        budget: Budget[Any] | None = None,
        env: Mapping[str, str] | None = None,
        chooser: Chooser | None = None,
    ) -> None:
        self._settings = settings
        self._toolbox = toolbox
        self._wait = wait_for_approval
        self._record = record
        self._budget = budget
        self._chooser = chooser or Chooser(settings, env=env)
        self._runs: dict[str, AgentRun] = {}

    def __repr__(self) -> str:
        return f"<Agent provider={self._settings.provider!r} running={len(self._runs)}>"

    @property
    def env_file(self) -> EnvFile | None:
        """What a `.env` in the working folder contributed; None when there is none."""
        return self._chooser.env_file

    def providers(self) -> list[ProviderStatus]:
        """Every provider, in the order in which they are chosen, with whether it is ready and why."""
        return self._chooser.statuses()

    async def detect(self) -> list[ProviderStatus]:
        """Look for a local server that speaks Chat Completions (at most 0.4 s), then as `providers`."""
        await self._chooser.detect()
        return self.providers()

    async def ask(
        self,
        question: str,
        caller: Caller,
        *,
        provider: str | None = None,
        model: str | None = None,
        run: str | None = None,
        history: Sequence[Message] = (),
        source: Source = "agent",
        toolbox: Toolbox | None = None,
        instructions: str = "",
    ) -> AsyncIterator[AnyRunEvent]:
        """Answer `question` as `caller`. Closing the generator, or `stop(run)`, ends the run and everything it started.

        Args:
            provider: overrides the setting; "auto" goes down the ladder.
            model: overrides the setting and the default of `models.toml`.
            run: id of the run; None makes one.
            history: an earlier conversation to go on with. One that ends in requests without results has them called
                first; `question` may then be empty.
            source: the door through which the question came.
            toolbox: what this run calls its tools with, instead of the agent's own.
            instructions: what a language model is told on how to use them.

        Raises:
            MisuseError: no question, no such provider, or a run of that id is under way.
        """
        if not question.strip() and not unresolved(history):
            raise MisuseError("The question is empty.", hint="Ask something in words.")
        run = run or new_id()
        if run in self._runs:
            raise MisuseError(f"Run {run!r} is under way.", hint="Leave `run` out, or give it an id of its own.")
        request = RunRequest(
            question=question,
            caller=caller,
            choice=await self._chooser.choose(provider, model),
            run=run,
            history=history,
            source=source,
            instructions=instructions,
        )
        state = AgentRun(
            request,
            self._settings,
            toolbox or self._toolbox,
            wait=self._wait,
            record=self._record,
            budget=self._budget,
        )
        self._runs[run] = state
        task = asyncio.create_task(state.go(), name=f"run {run}")
        task.add_done_callback(lambda _: state.over.set())
        try:
            while True:
                event = await state.events.get()
                if event is None:
                    break
                yield event
            await task
        finally:
            del self._runs[run]
            if not task.done():  # the reader went away: the run still ends in order, and its end is recorded
                if not state.stop() and not state.begun:
                    task.cancel()
                await asyncio.wait([task])
                task.result()

    def stop(self, run: str) -> bool:
        """End a run; its reader still gets `RunDone`, with status "cancelled". False when no such run is under way."""
        state = self._runs.get(run)
        return state is not None and state.stop()

    async def close(self) -> None:
        """Stop all runs and let go of what the providers hold."""
        runs = list(self._runs.values())
        for run in runs:
            run.stop()
        await asyncio.gather(*(run.over.wait() for run in runs))
        await self._chooser.close()
