"""Messages as JSON: what hosts send, and what they read."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import UUID

from pydantic import BaseModel, Field, model_validator

from guestguard_dagster.domain.deliveries import DeliveryStats, DeliveryStatus
from guestguard_dagster.domain.messages import (
    HoldOwner,
    Message,
    MessageAudience,
    MessageChannel,
    MessageKind,
    MessageStatus,
)
from guestguard_dagster.notifications.registry import LABELS
from guestguard_dagster.storage.deliveries.delivery_log import DeliveryRecord, Progress, SentToGuest
from guestguard_dagster.web.api.values import Answer, Body, Instant, Phone, Subject, TemplateBody

# as the column holds them
MOST_VERSIONS = 2**31 - 1


class SendMode(StrEnum):
    DRAFT = "draft"
    SCHEDULE = "schedule"
    SEND_NOW = "send_now"


class EditMode(StrEnum):
    DRAFT = "draft"
    SCHEDULE = "schedule"


class NewMessage(Body):
    """A broadcast. `send_at` belongs to `schedule`; a draft may have one, and `send_now` has none."""

    channel: MessageChannel = MessageChannel.EMAIL
    audience: MessageAudience = MessageAudience.EVERYONE
    subject: Subject = Field(default="", description="one line; an SMS has none")
    body: TemplateBody = Field(description="plain text with placeholders such as {{guest_name}}")
    mode: SendMode
    send_at: Instant | None = None
    survives_event_cancel: bool = Field(default=False, description="it leaves even if the event is cancelled")

    @model_validator(mode="after")
    def _times_fit_the_mode(self) -> Self:
        if self.mode is SendMode.SCHEDULE and self.send_at is None:
            raise ValueError("schedule needs send_at, the time at which the message leaves")
        if self.mode is SendMode.SEND_NOW and self.send_at is not None:
            raise ValueError("send_now takes no send_at; use schedule for a time of your own")
        return self


class MessageEdit(Body):
    """What changes; everything left out stays. `version` is the one that the editor saw: without one, here or in
    If-Match, the edit holds whoever has saved since."""

    version: int | None = Field(default=None, ge=1, le=MOST_VERSIONS, description="refuse if it has changed since")
    channel: MessageChannel | None = None
    audience: MessageAudience | None = None
    subject: Subject | None = None
    body: TemplateBody | None = None
    mode: EditMode | None = None
    send_at: Instant | None = None
    survives_event_cancel: bool | None = None


class SendNow(Body):
    version: int | None = Field(default=None, ge=1, le=MOST_VERSIONS, description="refuse if it has changed since")


class RetryRequest(Body):
    """`error_classes` narrows it. `unknown_too` is an operator's consent that a guest may get the message twice."""

    error_classes: list[str] | None = Field(default=None, max_length=20)
    unknown_too: bool = False


class PreviewRequest(Body):
    """A text as it is being written. Of a saved message, everything left out is as saved."""

    channel: MessageChannel | None = None
    audience: MessageAudience | None = None
    subject: Subject | None = None
    body: TemplateBody | None = None
    guest_id: UUID | None = Field(default=None, description="whose mail to show; else a made-up guest's")


class SendTestRequest(PreviewRequest):
    """An email test goes to the caller's own address. A text needs the caller's number."""

    phone: Phone | None = None


class OutcomeCount(Answer):
    status: DeliveryStatus
    reason: str | None
    retryable: bool
    count: int


class MessageProgress(BaseModel):
    total: int
    settled: int
    per_second: float
    seconds_left: int | None


class RunLink(BaseModel):
    run_id: str
    url: str | None


class MessageOut(Answer):
    """A message. `label` is its name for people; `version` grows with every edit and belongs into the next one."""

    id: UUID
    event_id: UUID
    kind: MessageKind
    label: str
    channel: MessageChannel
    audience: MessageAudience
    subject: str
    body: str
    status: MessageStatus
    status_reason: str | None
    send_at: datetime | None
    send_at_is_custom: bool
    survives_event_cancel: bool
    version: int
    waits_until: datetime | None
    waiting_reason: str | None
    held_at: datetime | None
    held_by: HoldOwner | None = Field(description="whose hold it is; a terminated run's is lifted by re-executing it")
    held_reason: str | None
    recipient_count: int | None
    outcomes: list[OutcomeCount]
    retryable: int = Field(description="recipients that retry-failed would try again")
    started_at: datetime | None
    finished_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, message: Message, stats: DeliveryStats | None) -> "MessageOut":
        return cls.made_of(
            message,
            label=message.kind.label,
            waits_until=message.not_before,
            outcomes=stats.counts if stats else (),
            retryable=stats.retryable if stats else 0,
        )


class MessageDetail(MessageOut):
    """One message, with its progress while it is sending, and its runs for operators."""

    progress: MessageProgress | None = None
    runs: list[RunLink] | None = Field(default=None, description="null for those who are no operators")


class MessagePage(BaseModel):
    items: list[MessageOut]
    next: UUID | None = Field(description="the `after` of the next page; null when this is the last one")


class UnreachableOut(Answer):
    guest_id: UUID
    name: str


class RecipientCountOut(BaseModel):
    """Whom a message would reach now. The lists name at most 50 each."""

    audience: MessageAudience
    channel: MessageChannel
    total: int
    reachable: int
    without_address: int
    suppressed: int
    guests_without_address: list[UnreachableOut]
    suppressed_guests: list[UnreachableOut]
    provider: str = Field(description="what carries this channel; `log` when none is configured: nothing leaves then")


class SegmentsOut(Answer):
    encoding: str
    units: int
    segments: int


class PreviewOut(BaseModel):
    """`html` and `subject` for email; `segments` for SMS. Links of a preview lead nowhere."""

    channel: MessageChannel
    guest_name: str
    subject: str | None = None
    text: str
    html: str | None = None
    segments: SegmentsOut | None = None


class SendTestOut(BaseModel):
    outcome: str = Field(description="sent, dry_run (no provider is configured), permanent, transient, unknown, ...")
    provider: str
    detail: str | None
    segments: SegmentsOut | None = None


class RetryOut(BaseModel):
    reopened: int = Field(description="recipients that are tried again")
    message: MessageOut


class DeliveryOut(Answer):
    delivery_id: int
    guest_id: UUID
    guest_name: str
    address: str | None
    channel: MessageChannel
    status: DeliveryStatus
    reason: str | None
    retryable: bool
    round: int
    provider: str | None
    error_class: str | None
    error_code: str | None
    error_detail: str | None
    handed_off_at: datetime | None
    settled_at: datetime | None


class DeliveryPage(BaseModel):
    items: list[DeliveryOut]
    next: int | None = Field(description="the `after` of the next page; null when this is the last one")

    @classmethod
    def of(cls, records: Sequence[DeliveryRecord], limit: int) -> "DeliveryPage":
        next_after = records[-1].delivery_id if len(records) == limit else None
        return cls(items=[DeliveryOut.model_validate(record) for record in records], next=next_after)


class SentOut(Answer):
    """One delivery to a guest. `label` names the message or notification for people."""

    delivery_id: int
    message_id: UUID | None
    label: str
    subject: str | None
    channel: MessageChannel
    status: DeliveryStatus
    reason: str | None
    created_at: datetime
    handed_off_at: datetime | None
    settled_at: datetime | None

    @classmethod
    def of(cls, sent: SentToGuest) -> "SentOut":
        label = sent.kind.label if sent.kind else LABELS.get(sent.notification or "", "Mail")
        return cls.made_of(sent, label=label)


class SentPage(BaseModel):
    items: list[SentOut]
    next: int | None


def progress_out(progress: Progress) -> MessageProgress:
    left = progress.time_left
    return MessageProgress(
        total=progress.total,
        settled=progress.total - progress.unsettled,
        per_second=round(progress.per_second, 1),
        seconds_left=round(left.total_seconds()) if left is not None else None,
    )
