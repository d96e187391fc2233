"""Earlier turns of a conversation, as callers send them."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.agent import AssistantMessage, Message, UserMessage
from workbench.events import JSON, Misuse


def messages(history: Sequence[JSON]) -> tuple[Message, ...]:
    """Earlier turns in the agent's form.

    Raises:
        Misuse: a turn without role or text.
    """
    made: list[Message] = []
    for turn in history:
        match turn:
            case {"role": "user", "text": str(text)}:
                made.append(UserMessage(text=text))
            case {"role": "assistant", "text": str(text)}:
                made.append(AssistantMessage(text=text))
            case _:
                raise Misuse(f"A turn of the history is {turn!r}.", hint='Expected {"role": "user", "text": "…"}.')
    return tuple(made)
