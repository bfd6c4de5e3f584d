"""Freezing and checking the messages of a run that are not ready to leave, a moment at a time."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from guestguard_dagster.clock import boot_seconds
from guestguard_dagster.delivery.composing import MessageComposer
from guestguard_dagster.delivery.load_recipients import freeze_step
from guestguard_dagster.delivery.render import Preflight
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.storage.deliveries.audiences import Stage

_STEP_SECONDS = 0.2


class Preparation:
    """The audiences of these messages, on their way to be frozen and checked. Small ones are ready first."""

    def __init__(self, sending: SendContext, composer: MessageComposer) -> None:
        self._sending = sending
        self._preflight = Preflight(sending, composer)
        self._ready: list[UUID] = []
        self._again_at = 0.0
        self.message_ids: set[UUID] = set()

    def add(self, message_ids: Iterable[UUID]) -> None:
        self.message_ids.update(message_ids)
        self._again_at = 0.0

    def is_due(self, *, is_alone: bool) -> bool:
        """While others have mail to hand off, they get as much time as this."""
        return is_alone or boot_seconds() >= self._again_at

    def step(self) -> bool:
        """Go on for a moment; False when nothing could be done, because another run is at it."""
        started = boot_seconds()
        ends_at = started + _STEP_SECONDS
        has_worked = False
        for stage, step in ((Stage.UNFROZEN, self._freeze), (Stage.UNCHECKED, self._check)):
            stages = self._sending.audiences.stages(list(self.message_ids))
            has_worked = step([id for id, at in stages.items() if at is stage], ends_at) or has_worked
        self._sort_out(is_stuck=not has_worked)
        self._again_at = boot_seconds() + (boot_seconds() - started)
        return has_worked

    def take_ready(self) -> list[UUID]:
        """The messages that have become ready since this was asked."""
        ready, self._ready = self._ready, []
        return ready

    def _freeze(self, message_ids: Sequence[UUID], ends_at: float) -> bool:
        return freeze_step(self._sending, message_ids, ends_at=ends_at)

    def _check(self, message_ids: Sequence[UUID], ends_at: float) -> bool:
        return self._preflight.step(message_ids, ends_at=ends_at)

    def _sort_out(self, *, is_stuck: bool) -> None:
        """Those that are ready leave here, with those that quiet hours keep from it; and those that are held."""
        stages = self._sending.audiences.stages(list(self.message_ids))
        ready = {message_id for message_id, stage in stages.items() if stage is Stage.READY}
        if is_stuck:
            contexts = self._sending.contexts.load([id for id, at in stages.items() if at is Stage.UNCHECKED])
            ready |= {message_id for message_id, context in contexts.items() if context.quiet_until is not None}
        self._ready += ready
        self.message_ids = stages.keys() - ready
