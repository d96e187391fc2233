"""Questions and earlier turns of a conversation, as callers send them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from workbench.agent import AssistantMessage, Message, UserMessage
from workbench.events import JSON, MisuseError

MAX_QUESTION: Final = 20_000
"""Characters of a question."""


def check_question(question: str) -> None:
    """Raises Misuse when there is nothing to answer, or more than is read."""
    if not question.strip():
        raise MisuseError("The question is empty.", hint='Ask in words: `workbench ask "How many tickets are open?"`.')
    if len(question) > MAX_QUESTION:
        raise MisuseError(
            f"The question has {len(question):,} characters; at most {MAX_QUESTION:,} are read.",
            hint="Put long texts into files, and serve their folder: `workbench up --knowledge FOLDER`.",
        )


def messages(history: Sequence[JSON]) -> tuple[Message, ...]:
    """Earlier turns in the agent's form.

    Raises:
        MisuseError: a turn without role or text.
    """
    made: list[Message] = []
    for turn in history:
        match turn:
            case {"role": "user", "text": str(text)}:
                made.append(UserMessage(text=text))
            case {"role": "assistant", "text": str(text)}:
                made.append(AssistantMessage(text=text))
            case _:
                raise MisuseError(f"A turn of the history is {turn!r}.", hint='Expected {"role": "user", "text": "…"}.')
    return tuple(made)
