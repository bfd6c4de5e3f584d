"""The ledger in JetStream: what left, written by every process that sends, within a bound or not at all.

nats-py lives on an event loop in a thread of its own, which keeps the connection. `record` is called once per batch and
has a quarter of a second. When NATS does not answer in time, or is away, `record` returns at once from then on, while
the thread tries once a second to come back; the first thing it writes then is the gap.
"""

import asyncio
import logging
import threading
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from guestguard_dagster.domain.ledger import (
    KIND_OF,
    LedgerContent,
    LedgerEntry,
    LedgerGap,
    LedgerKind,
    LedgerRecord,
    content_from,
)
from guestguard_dagster.settings import Settings, SettingsInvalid
from guestguard_dagster.streams.access import NatsAccess
from guestguard_dagster.streams.declaration import LedgerDeclaration
from guestguard_dagster.streams.declaring import ensure_stream
from guestguard_dagster.streams.errors import StreamFailed, StreamUnavailable
from guestguard_dagster.streams.messages import delivered, publish_all
from guestguard_dagster.streams.session import CALL_SECONDS, CONNECT_SECONDS, Session, connect, explained

if TYPE_CHECKING:
    from nats.js.client import JetStreamContext

log = logging.getLogger(__name__)

_RECORD_SECONDS = 0.25
_TRY_AGAIN_SECONDS = 1.0
_PAGE = 500
# A reader that died is forgotten by the server after so long.
_READER_SECONDS = 60

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class LedgerState:
    """The stream as it stands. Sequences of what lies in it, both included; (1, 0) when it is empty and new."""

    stream: str
    created_at: datetime
    first_sequence: int
    last_sequence: int
    # how the stream differs from its declaration, in sentences
    drift: tuple[str, ...]


class Ledger:
    """One connection, made when it is needed. Thread-safe. Without NATS it records nothing, and says so.

    Use it as a context manager, or `close` it: it holds a thread, a socket and an event loop.
    """

    def __init__(
        self,
        access: NatsAccess | None,
        declaration: LedgerDeclaration,
        *,
        problem: str | None = None,
    ) -> None:
        """Without `access` there is no ledger; `problem` says why, if it is not just that NATS_URL is unset."""
        self.declaration = declaration
        self.problem = problem
        self._access = access
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        # of the loop's thread alone
        self._session: Session | None = None
        self._connecting: asyncio.Task[Session] | None = None
        self._coming_back: asyncio.Task[None] | None = None
        # under the lock
        self._is_away = False
        self._missed: LedgerGap | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> "Ledger":
        """Settings that do not lead to NATS keep nobody from sending: there is no ledger then."""
        declaration = LedgerDeclaration.from_settings(settings)
        if settings.nats_url is None:
            return cls(None, declaration)
        try:
            return cls(NatsAccess.from_settings(settings), declaration)
        except SettingsInvalid as problem:
            log.warning("there is no ledger: %s", problem)
            return cls(None, declaration, problem=str(problem))

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Safe to call twice."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    @property
    def is_kept(self) -> bool:
        """Whether there is a NATS to keep it in."""
        return self._access is not None

    def record(self, entries: Sequence[LedgerEntry]) -> bool:
        """Whether these batches are in the ledger now. Never raises, and never takes longer than its bound.

        False leaves them to the database, which knows what is not recorded yet, and to a gap.
        """
        if self._access is None or not entries:
            return self.is_kept
        if not self._is_away:
            try:
                self._call(self._store(entries), _RECORD_SECONDS)
                return True
            except (StreamFailed, SettingsInvalid, TimeoutError) as problem:
                log.warning("the ledger does not answer, batches leave without an entry: %s", problem or "too slow")
        self._miss(entries)
        return False

    def write(self, contents: Sequence[LedgerContent]) -> None:
        """Store these, and wait for it as long as for any call to NATS. Raises StreamFailed."""
        self._call(self._store(contents), CONNECT_SECONDS + CALL_SECONDS)

    def state(self) -> LedgerState:
        """Make the stream if it is missing, and see how it stands. Raises StreamFailed."""
        return self._call(self._state(), CONNECT_SECONDS + CALL_SECONDS)

    def read(self, after: int) -> Iterator[list[LedgerRecord]]:
        """What lies behind the sequence `after`, in pages, up to what is there when it begins. Raises StreamFailed."""
        reader, remaining = self._call(self._open_reader(after), CONNECT_SECONDS + CALL_SECONDS)
        try:
            while remaining > 0:
                asked = min(_PAGE, remaining)
                page, found = self._call(self._next_page(reader, asked), CALL_SECONDS + 1)
                if found == 0:
                    return  # what was left has grown too old meanwhile
                remaining -= found
                yield page
        finally:
            self._call(self._close_reader(reader), CALL_SECONDS)

    # --- in the caller's thread --------------------------------------------------------------------------------------

    def _call(self, work: Coroutine[Any, Any, Result], within: float) -> Result:
        """Raises what `work` raises, and StreamUnavailable when it takes longer than `within` seconds."""
        future = asyncio.run_coroutine_threadsafe(work, self._running_loop())
        try:
            return future.result(within)
        except TimeoutError:
            future.cancel()
            raise StreamUnavailable(f"NATS at {self._place} did not answer in time; check that it runs") from None

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="ledger", daemon=True)
                self._thread.start()
            return self._loop

    def _miss(self, entries: Sequence[LedgerEntry]) -> None:
        instants = [entry.handed_off_at for entry in entries]
        gap = LedgerGap(min(instants), max(instants), entries[0].installation_id)
        loop = self._running_loop()
        with self._lock:
            self._missed = gap if self._missed is None else self._missed.widened(gap)
            if not self._is_away:
                self._is_away = True
                loop.call_soon_threadsafe(self._begin_to_come_back)

    @property
    def _place(self) -> str:
        return self._access.place if self._access else "NATS_URL, which is not set,"

    # --- on the event loop -------------------------------------------------------------------------------------------

    async def _store(self, contents: Sequence[LedgerContent]) -> None:
        session = await self._connected()
        with explained(self._needed_access()):
            await publish_all(
                session.jetstream,
                (
                    (f"{self.declaration.subject}.{KIND_OF[type(content)]}", content.as_bytes(), content.dedupe_id)
                    for content in contents
                ),
            )

    def _begin_to_come_back(self) -> None:
        self._coming_back = asyncio.ensure_future(self._come_back())

    async def _come_back(self) -> None:
        """Once a second, until the gap is written and nothing was missed meanwhile."""
        while True:
            await self._drop()
            await asyncio.sleep(_TRY_AGAIN_SECONDS)
            with self._lock:
                gap = self._missed
            try:
                await asyncio.wait_for(self._store([gap] if gap else []), CONNECT_SECONDS + CALL_SECONDS)
            except (StreamFailed, SettingsInvalid, TimeoutError):
                continue
            with self._lock:
                if self._missed == gap:
                    self._missed, self._is_away = None, False
                    return

    async def _state(self) -> LedgerState:
        session = await self._connected()
        with explained(self._needed_access()):
            info, drift = await ensure_stream(session.jetstream, self.declaration)
        if info.created is None:
            raise StreamUnavailable(f"NATS at {self._place} does not say since when its streams exist; try again")
        state = info.state
        return LedgerState(self.declaration.name, info.created, state.first_seq, state.last_seq, tuple(drift))

    async def _open_reader(self, after: int) -> tuple["JetStreamContext.PullSubscription", int]:
        from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

        session = await self._connected()
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=after + 1,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=_READER_SECONDS,
        )
        with explained(self._needed_access()):
            info = await session.jetstream.add_consumer(self.declaration.name, config)
            reader = await session.jetstream.pull_subscribe_bind(stream=self.declaration.name, name=info.name)
        return reader, info.num_pending or 0

    async def _next_page(
        self, reader: "JetStreamContext.PullSubscription", size: int
    ) -> tuple[list[LedgerRecord], int]:
        """What of the page is of ours, and how many there were."""
        with explained(self._needed_access()):
            try:
                messages = await reader.fetch(size, timeout=CALL_SECONDS)
            except TimeoutError:
                info = await reader.consumer_info()
                if info.num_pending:
                    raise
                return [], 0
        records = []
        for message in messages:
            arrival = delivered(message).arrival
            kind = arrival.subject.rpartition(".")[2]
            content = content_from(LedgerKind(kind), arrival.data) if kind in set(LedgerKind) else None
            if content is not None:
                records.append(LedgerRecord(arrival.sequence, arrival.published_at, content))
        return records, len(messages)

    async def _close_reader(self, reader: "JetStreamContext.PullSubscription") -> None:
        if self._session is None:
            return  # with the connection, the reader is gone as well
        with explained(self._needed_access()):
            info = await reader.consumer_info()
            await reader.unsubscribe()
            await self._session.jetstream.delete_consumer(self.declaration.name, info.name)

    async def _connected(self) -> Session:
        """The live connection. Whoever stops waiting for a new one leaves it to be made for the next."""
        if self._session is not None and not self._session.client.is_closed:
            return self._session
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.ensure_future(self._connect())
            self._connecting.add_done_callback(_look_at)
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> Session:
        access = self._needed_access()
        session = await connect(access)
        try:
            with explained(access):
                await ensure_stream(session.jetstream, self.declaration)
        except StreamFailed:
            await session.close()
            raise
        self._session = session
        return session

    async def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _end(self) -> None:
        await self._drop()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _needed_access(self) -> NatsAccess:
        if self._access is None:
            raise SettingsInvalid("NATS_URL is not set; without NATS there is no ledger")
        return self._access


def _look_at(task: "asyncio.Task[Session]") -> None:
    """An attempt that nobody waits for any more may fail without a word."""
    if not task.cancelled():
        task.exception()
