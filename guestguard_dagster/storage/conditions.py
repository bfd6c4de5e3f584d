"""Who gets mail: each rule that is asked of rows stands here, once.

Rules are SQLAlchemy expressions over a row of each table. Statements that are written as text take them in through
`as_sql`, with the rows that they name: M a message, G a guest, E an event. What is asked of facts that were read
already is in the domain (MessageAudience.includes, DepartureRules).
"""

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Text, and_, cast, exists, func, literal, or_, select
from sqlalchemy.engine import make_url

from guestguard_dagster.domain.events import CollaboratorRole
from guestguard_dagster.domain.messages import MessageAudience, MessageChannel, MessageStatus
from guestguard_dagster.domain.suppressions import EVERY_HOST, for_sending_number
from guestguard_dagster.domain.system_mail import SystemMailKind
from guestguard_dagster.storage.tables.messages import scheduled_messages
from guestguard_dagster.storage.tables.people import event_collaborators, events, guests, suppressions

_DIALECT = make_url("postgresql+psycopg://").get_dialect()()

M = scheduled_messages.alias("m")
G = guests.alias("g")
E = events.alias("e")

# For the statements that mark a batch `b` as about to leave, and for the claim, where there is no batch. While the
# database is behind its ledger nothing leaves but mail that was written since then, to operators, about just that.
NOTHING_IS_STOPPED = "NOT EXISTS (SELECT FROM ledger_position WHERE behind_since IS NOT NULL)"
BATCH_MAY_LEAVE = f"""NOT EXISTS (
    SELECT FROM ledger_position p
    WHERE p.behind_since IS NOT NULL
      AND NOT (b.queue_id = '{SystemMailKind.ALERT.queue_id}' AND b.created_at > p.behind_since)
)"""


def as_sql(condition: ColumnElement[bool]) -> str:
    """The condition for a statement that is written as text. Its values are constants of the code, never input."""
    compiled = condition.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True})
    return f"({compiled})"


def is_in_audience(guest: FromClause, audience: MessageAudience | ColumnElement[str]) -> ColumnElement[bool]:
    """The guest was not removed, and has answered what the audience, a value or a message's column, names."""
    is_present = guest.c.removed_at.is_(None)
    if audience is MessageAudience.EVERYONE:
        return is_present
    if isinstance(audience, MessageAudience):
        return and_(is_present, guest.c.rsvp_status == audience.value)
    return and_(is_present, or_(audience == MessageAudience.EVERYONE.value, guest.c.rsvp_status == audience))


def is_being_sent(message: FromClause) -> ColumnElement[bool]:
    """The message is being sent, and nobody holds it."""
    return and_(message.c.status == MessageStatus.SENDING.value, message.c.held_at.is_(None))


def event_allows(message: FromClause, event: FromClause) -> ColumnElement[bool]:
    """The event takes place, or the message survives that it does not."""
    return or_(event.c.cancelled_at.is_(None), message.c.survives_event_cancel)


def comes_too_late(message: FromClause, event: FromClause) -> ColumnElement[bool]:
    """The event has started, and the message was meant to leave before that."""
    return and_(message.c.send_at < event.c.starts_at, event.c.starts_at <= func.clock_timestamp())


def guest_address(channel: MessageChannel) -> ColumnElement[Any]:
    """The column of guests by which this channel reaches them."""
    return guests.c.email if channel is MessageChannel.EMAIL else guests.c.phone


def is_active_suppression(
    channel: MessageChannel | ColumnElement[Any], address: ColumnElement[Any]
) -> ColumnElement[bool]:
    """A row of suppressions holds for this address, in the form that it is looked up by."""
    return and_(
        suppressions.c.channel == channel, suppressions.c.address == address, suppressions.c.lifted_at.is_(None)
    )


def guest_is_suppressed(channel: MessageChannel, *, sending_number: str | None = None) -> ColumnElement[bool]:
    """Whether a row of guests is suppressed: for every host, for its event's owner, or for this sending number."""
    owner_scope = (
        select(literal("host:") + cast(event_collaborators.c.user_id, Text))
        .where(
            event_collaborators.c.event_id == guests.c.event_id,
            event_collaborators.c.role == CollaboratorRole.OWNER,
        )
        .correlate(guests)
        .scalar_subquery()
    )
    scopes = [suppressions.c.scope == EVERY_HOST, suppressions.c.scope == owner_scope]
    if sending_number is not None:
        scopes.append(suppressions.c.scope == for_sending_number(sending_number))
    # Guests' addresses are canonical in all but case, and letters beyond ASCII are in lower case already.
    is_active = is_active_suppression(channel, func.lower(guest_address(channel)))
    return exists().where(is_active, or_(*scopes)).correlate(guests)
