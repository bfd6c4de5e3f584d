"""The rules of who gets mail say the same wherever they are asked."""

import pytest
from sqlalchemy import literal, select, text

from guestguard_dagster.domain.events import RsvpStatus
from guestguard_dagster.domain.messages import MessageAudience
from guestguard_dagster.storage.conditions import G, M, as_sql, is_in_audience
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.people.guests import GuestRepo
from guestguard_dagster.storage.tables.people import guests
from guestguard_dagster_tests.factories import make_event, make_guests, make_message


@pytest.mark.parametrize("audience", MessageAudience)
def test_an_audience_means_the_same_guests_in_every_form_of_the_rule(
    database: Database, audience: MessageAudience
) -> None:
    event = make_event(database)
    present = [make_guests(database, event, rsvp_status=status)[0] for status in RsvpStatus]
    [removed] = make_guests(database, event, rsvp_status=RsvpStatus.ATTENDING)
    GuestRepo(database).remove(removed.id)
    message = make_message(database, event, audience=audience)

    by_value = select(guests.c.id).where(is_in_audience(guests, audience))
    by_column = select(guests.c.id).where(is_in_audience(guests, literal(audience.value)))
    as_text = (
        select(G.c.id)
        .join(M, M.c.event_id == G.c.event_id)
        .where(M.c.id == message.id, text(as_sql(is_in_audience(G, M.c.audience))))
    )
    with database.transaction() as connection:
        found = [set(connection.execute(query).scalars()) for query in (by_value, by_column, as_text)]
    in_memory = {guest.id for guest in present if audience.includes(guest.rsvp_status)}
    assert in_memory
    assert found == [in_memory] * 3
