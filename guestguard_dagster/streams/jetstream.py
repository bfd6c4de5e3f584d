"""JetStream with plain functions: survey, fetch, settle, publish, read.

nats-py lives on an event loop of this object's own, which turns only during a call. A connection that was lost is made
anew by the next call, within two seconds or not at all: nats-py's own reconnecting can hang for minutes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from guestguard_dagster.domain.notifications import Arrival
from guestguard_dagster.streams.access import NatsAccess
from guestguard_dagster.streams.declaration import StreamDeclaration
from guestguard_dagster.streams.declaring import ensure_consumer, ensure_stream
from guestguard_dagster.streams.errors import StreamUnavailable
from guestguard_dagster.streams.messages import Backlog, Published, StreamMessage, delivered, publish_all, stored
from guestguard_dagster.streams.session import Session, connect, explained

_SHORTEST_WAIT = timedelta(milliseconds=10)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Survey:
    """What each consumer has left, and how the server's setup differs from the declaration, in sentences."""

    backlogs: Mapping[str, Backlog]
    drift: tuple[str, ...]


class JetStream:
    """One connection, made when it is needed. Not thread-safe. Every call raises StreamFailed's kinds.

    Use it as a context manager, or `close` it: it holds a socket and an event loop.
    """

    def __init__(self, access: NatsAccess, declaration: StreamDeclaration) -> None:
        self.declaration = declaration
        self._access = access
        self._runner = asyncio.Runner()
        self._session: Session | None = None

    def __enter__(self) -> "JetStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Safe to call twice."""
        if self._session is not None:
            self._runner.run(self._session.close())
            self._session = None
        self._runner.close()

    @property
    def place(self) -> str:
        """Host and port of the servers."""
        return self._access.place

    def survey(self) -> Survey:
        """Make what is missing of stream and consumers, and see how they stand."""
        return self._run(self._survey)

    def fetch(self, kind: str, *, size: int, wait: timedelta) -> list[StreamMessage]:
        """Up to `size` events of this type: at once if there are any, else the first ones within `wait`."""
        return self._run(lambda session: self._fetch(session, kind, size, wait))

    def settle(
        self,
        *,
        acks: Iterable[StreamMessage] = (),
        terms: Iterable[StreamMessage] = (),
        retries: Iterable[tuple[StreamMessage, timedelta]] = (),
    ) -> None:
        """Tell the stream what became of deliveries: done, never to be delivered again, or again after that time."""

        async def tell(session: Session) -> None:
            for message in acks:
                await session.client.publish(message.reply, b"+ACK")
            for message in terms:
                await session.client.publish(message.reply, b"+TERM")
            for message, delay in retries:
                nanoseconds = int(delay.total_seconds() * 1_000_000_000)
                await session.client.publish(message.reply, b'-NAK {"delay": %d}' % nanoseconds)
            await session.client.flush()

        self._run(tell)

    def publish(self, kind: str, data: bytes, *, message_id: str | None = None) -> Published:
        """Store one event, and wait until the stream has it."""
        return self.publish_many([(kind, data, message_id)])[0]

    def publish_many(self, events: Sequence[tuple[str, bytes, str | None]]) -> list[Published]:
        """Store many events, in this order, without waiting for each before the next."""

        async def store(session: Session) -> list[Published]:
            return await publish_all(
                session.jetstream,
                ((self.declaration.consumers[kind].subject, data, message_id) for kind, data, message_id in events),
            )

        return self._run(store)

    def read(self, first_sequence: int, last_sequence: int) -> list[Arrival]:
        """The events of our subjects that still lie in the stream between these sequences, both included."""

        async def look(session: Session) -> list[Arrival]:
            from nats.js.errors import NotFoundError

            name = self.declaration.name
            state = (await session.jetstream.stream_info(name)).state
            arrivals = []
            for sequence in range(max(first_sequence, state.first_seq), min(last_sequence, state.last_seq) + 1):
                try:
                    arrivals.append(stored(name, await session.jetstream.get_msg(name, sequence)))
                except NotFoundError:
                    continue  # deleted from the stream
            return [arrival for arrival in arrivals if arrival.subject in self.declaration.subjects]

        return self._run(look)

    # --- on the event loop -----------------------------------------------------------------------------------------

    def _run(self, work: Callable[[Session], Awaitable[Result]]) -> Result:
        return self._runner.run(self._work(work))

    async def _work(self, work: Callable[[Session], Awaitable[Result]]) -> Result:
        if self._session is not None and self._session.client.is_closed:
            await self._drop()
        if self._session is None:
            self._session = await connect(self._access)
        try:
            with explained(self._access):
                return await work(self._session)
        except StreamUnavailable:
            await self._drop()
            raise

    async def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _survey(self, session: Session) -> Survey:
        _, drift = await ensure_stream(session.jetstream, self.declaration)
        backlogs = {}
        for kind, consumer in self.declaration.consumers.items():
            info, differences = await ensure_consumer(session.jetstream, self.declaration.name, consumer)
            backlogs[kind] = Backlog(info.num_pending or 0, info.num_ack_pending or 0)
            drift += differences
        return Survey(backlogs, tuple(drift))

    async def _fetch(self, session: Session, kind: str, size: int, wait: timedelta) -> list[StreamMessage]:
        consumer = self.declaration.consumers[kind].name
        if consumer not in session.subscriptions:
            info = await session.jetstream.consumer_info(self.declaration.name, consumer)
            limit = info.config.max_deliver
            session.most_deliveries[consumer] = limit if limit is not None and limit > 0 else None
            session.subscriptions[consumer] = await session.jetstream.pull_subscribe_bind(
                durable=consumer, stream=self.declaration.name
            )
        try:
            messages = await session.subscriptions[consumer].fetch(
                size, timeout=max(wait, _SHORTEST_WAIT).total_seconds()
            )
        except TimeoutError:
            return []  # nothing came
        return [delivered(message, most_deliveries=session.most_deliveries[consumer]) for message in messages]
