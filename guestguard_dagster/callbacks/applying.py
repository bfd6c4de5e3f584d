"""What providers' callbacks do: move deliveries forward, suppress addresses, settle what was `unknown`.

Applying one twice, late, or in another order ends in the same state, and so does being killed in the middle.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol

from guestguard_dagster.delivery.mark_sent import end_settled
from guestguard_dagster.domain.callbacks import (
    CallbackContent,
    CalledDelivery,
    OptKeyword,
    ProviderEvent,
    counts_for,
)
from guestguard_dagster.domain.deliveries import DeliveryReport
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.suppressions import EVERY_HOST, SuppressionReason, for_sending_number
from guestguard_dagster.senders.registry import provider_named
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.errors import DeliveryNotFound
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.operations.installation import InstallationRepo
from guestguard_dagster.storage.people.suppressions import NotAPhoneNumber, SuppressionRepo
from guestguard_dagster.storage.providers.callbacks import CallbackRepo, StoredCallback
from guestguard_dagster.streams.errors import StreamFailed
from guestguard_dagster.streams.messages import StreamMessage

logger = logging.getLogger(__name__)

# A callback may overtake the answer to the very hand-off that it is about; what is unknown after a day is not ours.
_FIRST_RETRY = timedelta(seconds=15)
_GIVE_UP_AFTER = timedelta(days=1)
_GROUP = 500


class Applied(StrEnum):
    """What became of a callback."""

    MOVED = "moved"  # the delivery has a new status
    CHANGED_NOTHING = "changed_nothing"  # it was known, older than what is known, or says nothing about a delivery
    OPTED_OUT = "opted_out"
    OPTED_IN = "opted_in"
    NOT_OURS = "not_ours"  # no hand-off of ours is meant
    TOO_EARLY = "too_early"  # the delivery is not known yet; it is tried again


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the callbacks, and what was wrong with the stream, if anything."""

    counts: Counter[Applied]
    stream_problem: str | None


class CallbackStream(Protocol):
    """Where stored callbacks are announced."""

    def fetch(self, kind: ProviderEvent, *, size: int, wait: timedelta) -> list[StreamMessage]: ...
    def settle(self, *, acks: Sequence[StreamMessage]) -> None: ...


class CallbackApplier:
    """Applies callbacks about this installation's hand-offs, and leaves those of others alone.

    A callback is ours by its tag; without a tag (of a mail that left before there were any) by the provider's id alone.
    `sending_number` (E.164) is what the STOPs of SMS belong to, if it is known.
    """

    def __init__(self, database: Database, *, sending_number: str | None) -> None:
        self._callbacks = CallbackRepo(database)
        self._installation = InstallationRepo(database)
        self._messages = MessageRepo(database)
        self._suppressions = SuppressionRepo(database)
        self._sending_number = sending_number

    def apply_waiting(self) -> Counter[Applied]:
        """Apply everything that is stored and due; returns what became of it."""
        counts: Counter[Applied] = Counter()
        while waiting := self._callbacks.waiting():
            counts.update(self.apply(callback) for callback in waiting)
        return counts

    def apply(self, callback: StoredCallback) -> Applied:
        """Apply one callback, and write down that it was."""
        applied = self._apply(callback.provider, _read(callback.provider, callback.payload))
        if applied is Applied.TOO_EARLY and callback.age < _GIVE_UP_AFTER:
            self._callbacks.try_again(callback.id, after=max(_FIRST_RETRY, callback.age / 2))
            return applied
        applied = Applied.NOT_OURS if applied is Applied.TOO_EARLY else applied
        self._callbacks.mark_applied(callback.id, applied)
        return applied

    def apply_announced(self, stream: CallbackStream, *, linger: timedelta) -> Report:
        """Apply what is stored; then, for as long as new ones are announced within `linger`, those as well.

        With NATS away, everything that is stored is applied all the same.
        """
        counts = self.apply_waiting()
        try:
            while announced := stream.fetch(ProviderEvent.CALLBACK_STORED, size=_GROUP, wait=linger):
                counts += self.apply_waiting()
                stream.settle(acks=announced)
        except StreamFailed as problem:
            return Report(counts, str(problem))
        return Report(counts, None)

    def _apply(self, provider: str, content: CallbackContent) -> Applied:
        if content.keyword is not None:
            return self._apply_keyword(provider, content.keyword)
        if content.update is None:
            return Applied.CHANGED_NOTHING
        if content.installation not in (None, self._installation.id):
            return Applied.NOT_OURS
        delivery = self._callbacks.find_delivery(content.delivery_id, content.provider_message_id)
        if delivery is None and content.installation is not None:
            # A test mail, or a delivery that was deleted: its address bounced all the same.
            self._suppress(provider, content)
            return Applied.NOT_OURS
        of_round = delivery.round_of(content) if delivery is not None else None
        if delivery is None or of_round is None:
            # Without our tag, it may be about a hand-off whose answer is not written down yet.
            return Applied.TOO_EARLY if content.installation is None else Applied.NOT_OURS
        self._suppress(provider, content)
        return self._move(delivery, content.update, of_earlier_round=of_round < delivery.round)

    def _move(self, delivery: CalledDelivery, update: DeliveryReport, *, of_earlier_round: bool) -> Applied:
        if not counts_for(update, of_earlier_round=of_earlier_round):
            return Applied.CHANGED_NOTHING
        try:
            status = self._messages.record_delivery(delivery.delivery_id, update)
        except DeliveryNotFound:
            return Applied.NOT_OURS
        if delivery.message_id is not None and not delivery.status.is_settled:
            # It may have been the last one that its message waited for.
            end_settled(self._messages, [delivery.message_id])
        return Applied.CHANGED_NOTHING if status is delivery.status else Applied.MOVED

    def _suppress(self, provider: str, content: CallbackContent) -> None:
        if content.suppress is None:
            return
        channel = provider_named(provider).channel
        for address in content.addresses:
            try:
                self._suppressions.add(channel, address, scope=EVERY_HOST, reason=content.suppress, source=provider)
            except NotAPhoneNumber:
                logger.warning("a callback of %s names a number that is none; nothing is suppressed", provider)

    def _apply_keyword(self, provider: str, keyword: OptKeyword) -> Applied:
        """STOP suppresses, START lifts; in whatever order they are applied, the last word of the guest counts."""
        scope = for_sending_number(keyword.to_phone) if keyword.to_phone == self._sending_number else EVERY_HOST
        with self._callbacks.newest_in(keyword.thread) as payload:
            last_word = _read(provider, payload).keyword or keyword
            if last_word.stops:
                self._suppressions.add(
                    MessageChannel.SMS,
                    keyword.from_phone,
                    scope=scope,
                    reason=SuppressionReason.STOP,
                    source=provider,
                )
            else:
                self._suppressions.lift(MessageChannel.SMS, keyword.from_phone, scope=scope)
        return Applied.OPTED_OUT if keyword.stops else Applied.OPTED_IN


def _read(provider: str, payload: Mapping[str, Any]) -> CallbackContent:
    """What a callback says. A provider that does not call back any more says nothing."""
    read = provider_named(provider).read_callback
    return read(payload) if read is not None else CallbackContent()
