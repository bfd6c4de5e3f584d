"""How an event's messages went, for its host: in plain words, the day after."""

from collections import Counter

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.events import Event, RsvpStatus
from guestguard_dagster.rendering.dates import format_date
from guestguard_dagster.reporting.document import Card, Document, Section, Table
from guestguard_dagster.storage.statistics.report_facts import ReportFacts, UnreachedGuest

_MOST_GUESTS = 100
_ARRIVED = (DeliveryStatus.SENT, DeliveryStatus.DELIVERED, DeliveryStatus.COMPLAINED)

_WHY = {
    DeliveryStatus.BOUNCED: "The address does not take mail",
    DeliveryStatus.SUPPRESSED: "Unsubscribed, or the address failed before",
    DeliveryStatus.SKIPPED: "No address on the guest list",
    DeliveryStatus.UNKNOWN: "May or may not have arrived",
}


def event_report(facts: ReportFacts, event: Event) -> Document:
    """What was sent to the guests of an event, and whom it did not reach. Guests are named, their addresses are not."""
    when = format_date(event.starts_at, event.zone)
    messages = facts.messages_of(event.id)
    footer = "You receive this because you are the host of the event."
    if not messages:
        return Document(event.name, when, "No message was sent to the guests of this event.", footer=footer)
    total: Counter[DeliveryStatus] = Counter()
    for message in messages:
        total.update(message.outcomes)
    arrived = sum(total[status] for status in _ARRIVED)
    answers = facts.answers(event.id)
    unreached = facts.unreached(event.id, limit=_MOST_GUESTS)
    return Document(
        title=event.name,
        period=when,
        lead=f"{_messages(len(messages))} to your guests: {arrived:,} of {total.total():,} mails and texts arrived.",
        cards=[
            Card("Attending", str(answers[RsvpStatus.ATTENDING]), "good"),
            Card("Maybe", str(answers[RsvpStatus.MAYBE])),
            Card("Declined", str(answers[RsvpStatus.DECLINED])),
            Card("No answer", str(answers[RsvpStatus.PENDING])),
        ],
        sections=[
            Section(
                "Your messages",
                table=Table(
                    ["Message", "Sent", "Guests", "Arrived", "Did not arrive", "Not meant any more"],
                    [
                        [
                            f"{message.kind.label}, {message.channel}",
                            format_date(message.send_at, event.zone),
                            message.recipients,
                            sum(message.outcomes.get(status, 0) for status in _ARRIVED),
                            sum(
                                message.outcomes.get(status, 0)
                                for status in (DeliveryStatus.FAILED, DeliveryStatus.BOUNCED, DeliveryStatus.UNKNOWN)
                            ),
                            sum(
                                message.outcomes.get(status, 0)
                                for status in (DeliveryStatus.SKIPPED, DeliveryStatus.SUPPRESSED)
                            ),
                        ]
                        for message in messages
                    ],
                ),
            ),
            *([_unreached(unreached)] if unreached else []),
        ],
        footer=footer,
    )


def _unreached(guests: list[UnreachedGuest]) -> Section:
    return Section(
        "Guests whom no message reached",
        text=f"The first {_MOST_GUESTS} of them." if len(guests) == _MOST_GUESTS else "",
        table=Table(
            ["Guest", "Why"], [[guest.name, _WHY.get(guest.status, "Could not be delivered")] for guest in guests]
        ),
    )


def _messages(number: int) -> str:
    return "One message went" if number == 1 else f"{number} messages went"
