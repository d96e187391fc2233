"""Messages between the gateway processes of one deployment, through Redis: whoever is asked, the right one answers.

A client's next request may reach another process than its last. Nearly everything travels with the client, sealed; what
cannot, because it is a connection that one process holds, is reached through here. Messages are sealed with the key of
the deployment, so that who can write in Redis can neither read them nor make them up, and are good for a minute, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from workbench.cluster.sealed_tokens import SealedTokens
from workbench.control.redis_client import redis_client
from workbench.events import JSON, Record, UnreachableError

if TYPE_CHECKING:
    from redis.asyncio.client import PubSub

CONNECT_TIMEOUT_S: Final = 2.0
FIRST_PAUSE_S: Final = 0.5
"""Seconds before Redis is tried again; twice as many each time that it is in vain."""

CHECK_INTERVAL_S: Final = 1.0
"""Seconds between two looks whether the process that was asked is still there."""

VALIDITY_S: Final = 60.0
"""Seconds after which a message is not believed any more; clocks may differ by as much."""

MAX_REMEMBERED: Final = 50_000
MAX_PENDING_MESSAGES: Final = 1024

Tell = Callable[[JSON], Awaitable[None]]
Handler = Callable[[JSON, Tell], Awaitable[JSON]]
"""Given a message and how to notify its sender, gives what is answered."""

_log = logging.getLogger(__name__)


class ProcessGoneError(UnreachableError):
    """The process that is asked is not there any more."""

    error_kind = "Gone"


class Message(Record, frozen=True, kw_only=True):
    """What travels, before it is sealed."""

    id: str
    sender: str
    kind: str
    """What it is about; `reply`, `failed`, `notify` and `cancel` are about an earlier message."""
    about: str = ""
    at: float
    body: JSON


class MessageRelay:
    """This process among the others.

    Args:
        url: of Redis: `redis://`, `rediss://` or `unix://`.
        seal: of the deployment.
        prefix: of all channels and keys.

    Raises:
        MisuseError: redis-py is not installed, or it cannot read the URL.
    """

    def __init__(self, url: str, seal: SealedTokens, *, prefix: str = "workbench:relay") -> None:
        self.id = secrets.token_hex(6)
        """Of this process, for as long as it lives."""
        self.handlers: dict[str, Handler] = {}
        """By the kind of message. Those that are told to all are answered by nobody."""
        self.ready = asyncio.Event()
        """Set while this process can be reached by the others."""
        self._seal = seal
        self._prefix = prefix
        self._redis = redis_client(url, CONNECT_TIMEOUT_S)
        self._hearing = redis_client(url, None)
        self._asked: dict[str, asyncio.Queue[Message]] = {}
        self._answering: dict[str, asyncio.Task[None]] = {}
        self._telling: set[asyncio.Future[Any]] = set()
        self._seen: dict[str, float] = {}
        self._listening: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to listen; for ever, whatever happens to Redis."""
        self._listening = asyncio.get_running_loop().create_task(self._listen(), name="relay")

    async def close(self) -> None:
        """Stop listening. Who waits for an answer of ours is told that we are gone."""
        tasks: list[asyncio.Future[Any]] = [*self._answering.values(), *self._telling]
        if self._listening is not None:
            tasks.append(self._listening)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._redis.aclose()
        await self._hearing.aclose()

    # --- to others

    async def ask(self, process: str, kind: str, body: JSON, *, notify: Tell | None = None) -> JSON:
        """What another process answers. Cancelling stops it there.

        Args:
            process: its `id`.
            kind: of the message.
            body: of the message.
            notify: awaited with what the other tells before it answers.

        Raises:
            ProcessGoneError: there is no such process any more.
            UnreachableError: Redis does not answer, so nobody knows, or the other has failed.
        """
        if not self.ready.is_set():
            raise UnreachableError("Other gateway processes cannot be reached now: Redis does not answer.")
        message = self._message(kind, body)
        heard = self._asked[message.id] = asyncio.Queue()
        over = False
        try:
            await self._deliver(process, message)
            while True:
                try:
                    async with asyncio.timeout(CHECK_INTERVAL_S):
                        said = await heard.get()
                except TimeoutError:
                    await self._check(process)
                    continue
                over = said.kind != "notify"
                if said.kind == "reply":
                    return said.body
                if said.kind == "failed":
                    raise UnreachableError("The gateway process that was asked has failed; its log says why.")
                if notify is not None:
                    await notify(said.body)
        except BaseException:  # nobody waits for the answer any more, whatever the reason
            if not over:
                self._later(self._publish(self._channel(process), self._message("cancel", {}, about=message.id)))
            raise
        finally:
            del self._asked[message.id]

    def tell(self, kind: str, body: JSON) -> None:
        """Tell all other processes, as far as they can be reached; nobody waits for that."""
        if len(self._telling) < MAX_PENDING_MESSAGES:
            self._later(self._publish(self._channel(""), self._message(kind, body)))

    # --- what all remember

    async def keep(self, name: str, value: JSON | None, seconds: int) -> None:
        """Remember something for every process, or nothing any more; where Redis does not answer, only here."""
        key = f"{self._prefix}:{name}"
        if not self.ready.is_set():
            return
        with contextlib.suppress(UnreachableError):
            if value is None:
                await self._do(lambda: self._redis.delete(key))
            else:
                sealed = self._seal.close(msgspec.json.encode([name, value]))
                await self._do(lambda: self._redis.set(key, sealed, ex=seconds))

    async def kept(self, name: str) -> JSON | None:
        """What some process remembered; None when none did, or Redis does not answer."""
        if not self.ready.is_set():
            return None
        try:
            found = await self._do(lambda: self._redis.get(f"{self._prefix}:{name}"))
        except UnreachableError:
            return None
        data = self._seal.open(found.decode("ascii", "replace")) if isinstance(found, bytes) else None
        if data is None:
            return None
        try:
            of, value = msgspec.json.decode(data, type=tuple[str, dict[str, Any]])
        except msgspec.DecodeError:  # of another version
            return None
        return value if of == name else None

    # --- from others

    async def _listen(self) -> None:
        from redis.exceptions import RedisError

        pause = FIRST_PAUSE_S
        while True:
            try:
                async with self._hearing.pubsub(ignore_subscribe_messages=False) as channel:
                    await channel.subscribe(self._channel(self.id), self._channel(""))
                    await self._hear(channel)
            except (RedisError, OSError) as e:
                _log.warning("other gateway processes cannot be reached (%s)", type(e).__name__)
            finally:
                reached = self.ready.is_set()
                self.ready.clear()
            pause = FIRST_PAUSE_S if reached else pause
            await asyncio.sleep(pause)
            pause = min(2 * pause, 30.0)

    async def _hear(self, channel: PubSub) -> None:
        open_channels = 0
        async for item in channel.listen():
            if item["type"] == "subscribe":
                open_channels += 1
                if open_channels == 2:
                    self.ready.set()
            elif item["type"] == "message":
                message = self._opened(item["data"], item["channel"].decode())
                if message is not None:
                    self._take(message, answered=item["channel"].decode() != self._channel(""))

    def _take(self, message: Message, *, answered: bool) -> None:
        if message.kind in ("reply", "failed", "notify"):
            if (heard := self._asked.get(message.about)) is not None:
                heard.put_nowait(message)
        elif message.kind == "cancel":
            if (task := self._answering.get(message.about)) is not None:
                task.cancel()
        elif (handler := self.handlers.get(message.kind)) is not None:
            task = asyncio.get_running_loop().create_task(self._answer(message, handler, answered))
            self._answering[message.id] = task
            task.add_done_callback(lambda _: self._answering.pop(message.id, None))

    async def _answer(self, message: Message, handler: Handler, answered: bool) -> None:
        channel = self._channel(message.sender)

        async def notify(body: JSON) -> None:
            await self._publish(channel, self._message("notify", body, about=message.id))

        try:
            kind, body = "reply", await handler(message.body, notify)
        except Exception:  # noqa: BLE001 - whatever it is, the other process must not wait for ever
            _log.exception("a message of another gateway process about %s", message.kind)
            kind, body = "failed", {}
        if answered:
            with contextlib.suppress(UnreachableError):
                await self._publish(channel, self._message(kind, body, about=message.id))

    # --- the wire

    async def _deliver(self, process: str, message: Message) -> None:
        if not await self._publish(self._channel(process), message):
            raise ProcessGoneError("The gateway process that could answer has ended.")

    async def _check(self, process: str) -> None:
        """Raise `ProcessGoneError` when nobody listens as that process any more."""
        name = self._channel(process)
        counted = await self._do(lambda: self._redis.pubsub_numsub(name))
        if not dict(counted).get(name.encode()):
            raise ProcessGoneError("The gateway process that was to answer has ended.")

    async def _publish(self, channel: str, message: Message) -> int:
        sealed = self._seal.close(msgspec.json.encode([channel, message]))
        return int(await self._do(lambda: self._redis.publish(channel, sealed)))

    async def _do(self, work: Callable[[], Awaitable[Any]]) -> Any:
        from redis.exceptions import RedisError

        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await work()
        except (RedisError, OSError, TimeoutError) as e:
            raise UnreachableError("Other gateway processes cannot be reached now: Redis does not answer.") from e

    def _message(self, kind: str, body: JSON, *, about: str = "") -> Message:
        return Message(id=secrets.token_hex(12), sender=self.id, kind=kind, about=about, at=time.time(), body=body)

    def _opened(self, data: bytes, channel: str) -> Message | None:
        """A message that is whole, ours, meant for this channel, of now, and heard for the first time."""
        opened = self._seal.open(data.decode("ascii", "replace"))
        if opened is None:
            return None
        try:
            of, message = msgspec.json.decode(opened, type=tuple[str, Message])
        except msgspec.DecodeError:  # of another version, while gateways are replaced one by one
            _log.warning("a message of another gateway process cannot be read")
            return None
        now = time.time()
        if of != channel or message.sender == self.id or abs(now - message.at) > VALIDITY_S or message.id in self._seen:
            return None
        if len(self._seen) >= MAX_REMEMBERED:
            self._seen = {id: at for id, at in self._seen.items() if now - at < 2 * VALIDITY_S}
        self._seen[message.id] = now
        return message

    def _channel(self, process: str) -> str:
        return f"{self._prefix}:to:{process or 'all'}"

    def _later(self, work: Awaitable[Any]) -> None:
        task = asyncio.ensure_future(work)
        self._telling.add(task)
        task.add_done_callback(self._told)

    def _told(self, task: asyncio.Future[Any]) -> None:
        self._telling.discard(task)
        if not task.cancelled() and isinstance(problem := task.exception(), Exception):
            _log.debug("not told: %s", problem)
