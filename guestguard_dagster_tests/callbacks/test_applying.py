"""Callbacks end in the right state: late, repeated, reordered, too early, and of a round that is over."""

import itertools
import json
from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from guestguard_dagster.callbacks.applying import Applied, CallbackApplier
from guestguard_dagster.domain.callbacks import ProviderEvent
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.messages import Message, MessageChannel, MessageStatus
from guestguard_dagster.local.nats import NatsServer
from guestguard_dagster.local.ports import free_port
from guestguard_dagster.senders.provider import Provider
from guestguard_dagster.senders.registry import providers_that_call_back
from guestguard_dagster.senders.resend.provider import RESEND
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.deliveries.recording import live_status
from guestguard_dagster.storage.operations.installation import InstallationRepo
from guestguard_dagster.storage.people.suppressions import SuppressionRepo
from guestguard_dagster.storage.providers.callbacks import CallbackRepo
from guestguard_dagster.storage.tables.deliveries import delivery_batches, message_deliveries
from guestguard_dagster.streams.access import NatsAccess
from guestguard_dagster.streams.declaration import StreamDeclaration
from guestguard_dagster.streams.jetstream import JetStream
from guestguard_dagster_tests.factories import (
    make_deliveries,
    make_event,
    make_guests,
    make_message,
    read_message,
    set_columns,
)

_RANK = ("email.sent", "email.delivered", "email.bounced", "email.complained")
_STATUS = {kind: kind.partition(".")[2] for kind in _RANK}


@pytest.fixture
def event(database: Database) -> Event:
    return make_event(database)


@pytest.fixture
def message(database: Database, event: Event) -> Message:
    return make_message(database, event, status=MessageStatus.SENDING)


def _delivery(database: Database, message: Message, status: DeliveryStatus, **columns: object) -> int:
    event = make_event(database)
    [guest] = make_guests(database, event)
    return make_deliveries(database, message, [guest], status=status, **columns)[0]


def _call(
    database: Database,
    kind: str,
    delivery_id: int | None,
    *,
    message_id: str = "mail-1",
    installation: str | None = None,
) -> None:
    """A callback about this delivery, by our own installation unless another is given; "" for none."""
    data = {"email_id": message_id, "to": ["guest@example.com"], "bounce": {"type": "Permanent"}}
    if delivery_id is not None:
        carried = InstallationRepo(database).id if installation is None else installation
        data["tags"] = {"delivery_id": str(delivery_id)} | ({"installation_id": carried} if carried else {})
    CallbackRepo(database).store(RESEND.name, f"msg_{uuid4().hex}", {"type": kind, "data": data})


def _apply(database: Database) -> dict[Applied, int]:
    return dict(CallbackApplier(database, sending_number=None).apply_waiting())


def _status(database: Database, delivery_id: int) -> str:
    with database.transaction() as connection:
        query = (
            select(live_status())
            .join_from(
                message_deliveries,
                delivery_batches,
                delivery_batches.c.id == message_deliveries.c.batch_id,
                isouter=True,
            )
            .where(message_deliveries.c.id == delivery_id)
        )
        return str(connection.execute(query).scalar_one())


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    before=st.sampled_from([DeliveryStatus.SENDING, DeliveryStatus.SENT, DeliveryStatus.UNKNOWN]),
    calls=st.lists(st.sampled_from(_RANK), min_size=1, max_size=7),
)
def test_in_any_order_and_however_often_the_furthest_news_counts(
    database: Database, message: Message, before: DeliveryStatus, calls: list[str]
) -> None:
    delivery_id = _delivery(database, message, before, provider_message_id="mail-1")
    for kind in calls:
        _call(database, kind, delivery_id)
    _apply(database)
    furthest = max(calls, key=_RANK.index)
    assert _status(database, delivery_id) == _STATUS[furthest]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_applying_them_in_another_order_than_they_came_ends_the_same(
    database: Database, message: Message, order: Sequence[int]
) -> None:
    delivery_id = _delivery(database, message, DeliveryStatus.SENT, provider_message_id="mail-1")
    for kind in ("email.delivered", "email.bounced", "email.sent"):
        _call(database, kind, delivery_id)
    applier, waiting = CallbackApplier(database, sending_number=None), CallbackRepo(database).waiting()
    for index in order:
        applier.apply(waiting[index])
    assert _status(database, delivery_id) == "bounced"
    assert SuppressionRepo(database).is_suppressed(MessageChannel.EMAIL, "guest@example.com")


def test_a_callback_that_comes_before_the_answer_to_its_hand_off_is_tried_again(
    database: Database, message: Message
) -> None:
    _call(database, "email.delivered", None, message_id="mail-7")
    assert _apply(database) == {Applied.TOO_EARLY: 1}
    assert _apply(database) == {}, "not at once"
    delivery_id = _delivery(database, message, DeliveryStatus.SENT, provider_message_id="mail-7")
    _let_time_pass(database, timedelta(minutes=1))
    assert _apply(database) == {Applied.MOVED: 1}
    assert _status(database, delivery_id) == "delivered"


def test_a_callback_about_nothing_of_ours_is_given_up_after_a_day(database: Database) -> None:
    _call(database, "email.delivered", None, message_id="somebody else's")
    assert _apply(database) == {Applied.TOO_EARLY: 1}
    _let_time_pass(database, timedelta(days=1))
    assert _apply(database) == {Applied.NOT_OURS: 1}
    _call(database, "email.delivered", 10**15)
    assert _apply(database) == {Applied.NOT_OURS: 1}


def test_an_earlier_rounds_bounce_does_not_undo_the_new_try_but_its_arrival_counts(
    database: Database, message: Message
) -> None:
    for late, expected in (("email.bounced", "pending"), ("email.sent", "pending"), ("email.delivered", "delivered")):
        delivery_id = _delivery(database, message, DeliveryStatus.PENDING, round=2)
        _attempt(database, delivery_id, round_number=1, provider_message_id="first")
        _call(database, late, delivery_id, message_id="first")
        _apply(database)
        assert _status(database, delivery_id) == expected


class TestWhoseCallbackItIs:
    """Callbacks of a provider's account reach every installation that uses it."""

    @pytest.mark.parametrize("before", [each for each in DeliveryStatus if each is not DeliveryStatus.BOUNCED])
    @pytest.mark.parametrize("message_id", ["mail-1", "mail-2"])
    def test_a_second_installations_callback_marks_nothing(
        self, database: Database, message: Message, before: DeliveryStatus, message_id: str
    ) -> None:
        delivery_id = _delivery(database, message, before, provider_message_id="mail-1")
        _call(database, "email.bounced", delivery_id, message_id=message_id, installation=str(uuid4()))
        assert _apply(database) == {Applied.NOT_OURS: 1}
        assert _status(database, delivery_id) == before
        assert not SuppressionRepo(database).is_suppressed(MessageChannel.EMAIL, "guest@example.com")

    @pytest.mark.parametrize("status", [DeliveryStatus.SENT, DeliveryStatus.DELIVERED, DeliveryStatus.FAILED])
    def test_a_forged_tag_with_a_foreign_providers_id_marks_nothing(
        self, database: Database, message: Message, status: DeliveryStatus
    ) -> None:
        delivery_id = _delivery(database, message, status, provider_message_id="mail-1")
        _call(database, "email.bounced", delivery_id, message_id="somebody else's")
        assert _apply(database) == {Applied.NOT_OURS: 1}
        assert _status(database, delivery_id) == status
        assert not SuppressionRepo(database).is_suppressed(MessageChannel.EMAIL, "guest@example.com")

    def test_a_foreign_providers_id_marks_nothing_of_a_row_that_waits_for_its_second_round(
        self, database: Database, message: Message
    ) -> None:
        delivery_id = _delivery(database, message, DeliveryStatus.PENDING, round=2)
        _attempt(database, delivery_id, round_number=1, provider_message_id="first")
        _call(database, "email.delivered", delivery_id, message_id="somebody else's")
        assert _apply(database) == {Applied.NOT_OURS: 1}
        assert _status(database, delivery_id) == "pending"

    @pytest.mark.parametrize(
        "status",
        [DeliveryStatus.PENDING, DeliveryStatus.SKIPPED, DeliveryStatus.SUPPRESSED, DeliveryStatus.FAILED],
    )
    @pytest.mark.parametrize("kind", _RANK)
    def test_a_row_that_never_left_takes_nothing(
        self, database: Database, message: Message, status: DeliveryStatus, kind: str
    ) -> None:
        delivery_id = _delivery(database, message, status)
        _call(database, kind, delivery_id)
        assert _apply(database) == {Applied.NOT_OURS: 1}
        assert _status(database, delivery_id) == status

    @pytest.mark.parametrize("status", [DeliveryStatus.SENDING, DeliveryStatus.UNKNOWN])
    def test_a_row_whose_answer_is_awaited_takes_an_id_that_nobody_knows_yet(
        self, database: Database, message: Message, status: DeliveryStatus
    ) -> None:
        delivery_id = _delivery(database, message, status, round=2)
        _attempt(database, delivery_id, round_number=1, provider_message_id="first")
        _call(database, "email.bounced", delivery_id, message_id="second")
        assert _apply(database) == {Applied.MOVED: 1}
        assert _status(database, delivery_id) == "bounced"

    def test_a_row_that_was_handed_off_in_vain_takes_what_proves_the_contrary(
        self, database: Database, message: Message
    ) -> None:
        delivery_id = _delivery(database, message, DeliveryStatus.PENDING)
        _attempt(database, delivery_id, round_number=1, provider_message_id=None)
        _call(database, "email.delivered", delivery_id)
        assert _apply(database) == {Applied.MOVED: 1}
        assert _status(database, delivery_id) == "delivered"

    def test_a_lost_answer_of_an_earlier_round_does_not_undo_the_new_try(
        self, database: Database, message: Message
    ) -> None:
        delivery_id = _delivery(database, message, DeliveryStatus.PENDING, round=2)
        _attempt(database, delivery_id, round_number=1, provider_message_id=None)
        _call(database, "email.bounced", delivery_id)
        assert _apply(database) == {Applied.CHANGED_NOTHING: 1}
        assert _status(database, delivery_id) == "pending"

    def test_a_mail_that_left_without_an_installation_is_known_by_the_providers_id_alone(
        self, database: Database, message: Message
    ) -> None:
        known = _delivery(database, message, DeliveryStatus.SENT, provider_message_id="mail-1")
        lost = _delivery(database, message, DeliveryStatus.UNKNOWN)
        for delivery_id, message_id in ((known, "mail-1"), (known, "mail-2"), (lost, "mail-3")):
            _call(database, "email.delivered", delivery_id, message_id=message_id, installation="")
        assert _apply(database) == {Applied.MOVED: 1, Applied.TOO_EARLY: 2}
        assert (_status(database, known), _status(database, lost)) == ("delivered", "unknown")
        _let_time_pass(database, timedelta(days=1))
        assert _apply(database) == {Applied.NOT_OURS: 2}

    def test_a_deleted_deliverys_hard_bounce_suppresses_all_the_same(self, database: Database) -> None:
        _call(database, "email.bounced", 10**15)
        assert _apply(database) == {Applied.NOT_OURS: 1}
        assert SuppressionRepo(database).is_suppressed(MessageChannel.EMAIL, "guest@example.com")

    def test_nobody_elses_hard_bounce_suppresses_anybody(self, database: Database) -> None:
        _call(database, "email.bounced", None, message_id="somebody else's")
        _apply(database)
        assert not SuppressionRepo(database).is_suppressed(MessageChannel.EMAIL, "guest@example.com")


def test_a_hard_bounce_of_an_earlier_round_suppresses_all_the_same(database: Database, message: Message) -> None:
    delivery_id = _delivery(database, message, DeliveryStatus.PENDING, round=2)
    _attempt(database, delivery_id, round_number=1, provider_message_id="first")
    _call(database, "email.bounced", delivery_id, message_id="first")
    _apply(database)
    assert SuppressionRepo(database).is_suppressed(MessageChannel.EMAIL, "guest@example.com")


def test_the_last_callback_that_a_message_waited_for_ends_it(database: Database, message: Message) -> None:
    set_columns(database, message, audience_frozen_at=database.now(), recipient_count=1)
    delivery_id = _delivery(database, message, DeliveryStatus.SENDING)
    _call(database, "email.delivered", delivery_id)
    _apply(database)
    assert read_message(database, message.id).status is MessageStatus.SENT


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"type": "email.opened", "data": {"email_id": "x"}},
        {"type": "email.bounced", "data": "text"},
        {"type": "email.bounced", "data": {"tags": [1], "to": 5, "bounce": []}},
        {"type": ["email.sent"], "data": {"email_id": 7, "tags": {"delivery_id": "-1"}}},
    ],
)
@pytest.mark.parametrize("provider", providers_that_call_back(), ids=lambda provider: provider.name)
def test_whatever_else_a_provider_tells_is_put_aside(
    database: Database, provider: Provider, payload: dict[str, object]
) -> None:
    CallbackRepo(database).store(provider.name, "k", payload)
    _apply(database)
    _let_time_pass(database, timedelta(days=2))
    _apply(database)
    assert CallbackRepo(database).waiting() == []


def test_being_killed_between_two_steps_costs_nothing(database: Database, message: Message) -> None:
    delivery_id = _delivery(database, message, DeliveryStatus.SENT)
    _call(database, "email.bounced", delivery_id)
    [callback] = CallbackRepo(database).waiting()
    applier = CallbackApplier(database, sending_number=None)
    applier.apply(callback)
    with database.transaction() as connection:
        connection.execute(text("UPDATE provider_callbacks SET applied_at = NULL, next_try_at = now()"))
    assert applier.apply(callback) is Applied.CHANGED_NOTHING
    assert _status(database, delivery_id) == "bounced"


def _nats_settings(url: str) -> Settings:
    name = f"T{uuid4().hex}"
    values = {"nats_url": url, "nats_stream": name, "nats_subject_provider_callback": f"{name}.callback"}
    return Settings.model_validate(values)


def test_what_is_announced_is_applied_and_acknowledged(
    database: Database, message: Message, nats_server: NatsServer
) -> None:
    given = _nats_settings(nats_server.url)
    delivery_id = _delivery(database, message, DeliveryStatus.SENT)
    with JetStream(NatsAccess.from_settings(given), StreamDeclaration.of_callbacks(given)) as stream:
        stream.survey()
        _call(database, "email.delivered", delivery_id)
        stream.publish(ProviderEvent.CALLBACK_STORED, json.dumps({"callback_id": 1}).encode())
        applier = CallbackApplier(database, sending_number=None)
        report = applier.apply_announced(stream, linger=timedelta(milliseconds=200))
        backlog = stream.survey().backlogs[ProviderEvent.CALLBACK_STORED]
    assert (report.counts[Applied.MOVED], report.stream_problem) == (1, None)
    assert (backlog.pending, backlog.unacked) == (0, 0)
    assert _status(database, delivery_id) == "delivered"


def test_with_nats_away_what_is_stored_is_applied_all_the_same(database: Database, message: Message) -> None:
    given = _nats_settings(f"nats://127.0.0.1:{free_port()}")
    delivery_id = _delivery(database, message, DeliveryStatus.SENT)
    _call(database, "email.delivered", delivery_id)
    with JetStream(NatsAccess.from_settings(given), StreamDeclaration.of_callbacks(given)) as stream:
        report = CallbackApplier(database, sending_number=None).apply_announced(stream, linger=timedelta(0))
    assert report.stream_problem is not None
    assert _status(database, delivery_id) == "delivered"


def test_a_sweep_is_due_once_something_lies_there_for_a_while(database: Database) -> None:
    callbacks = CallbackRepo(database)
    assert not callbacks.has_waiting(for_at_least=timedelta())
    callbacks.store(RESEND.name, "k", {})
    assert callbacks.has_waiting(for_at_least=timedelta())
    assert not callbacks.has_waiting(for_at_least=timedelta(seconds=30))
    _let_time_pass(database, timedelta(minutes=1))
    assert callbacks.has_waiting(for_at_least=timedelta(seconds=30))


def _attempt(database: Database, delivery_id: int, *, round_number: int, provider_message_id: str | None) -> None:
    with database.transaction() as connection:
        connection.execute(
            text(
                "INSERT INTO delivery_attempts "
                "(delivery_id, round, provider, account, outcome, provider_message_id) "
                "VALUES (:delivery_id, :round, 'resend', 'resend:x', 'sent', :message_id)"
            ),
            {"delivery_id": delivery_id, "round": round_number, "message_id": provider_message_id},
        )


def _let_time_pass(database: Database, duration: timedelta) -> None:
    """As if everything in the table had come that much earlier."""
    with database.transaction() as connection:
        connection.execute(
            text(
                "UPDATE provider_callbacks "
                "SET received_at = received_at - CAST(:duration AS interval), "
                "next_try_at = next_try_at - CAST(:duration AS interval)"
            ),
            {"duration": duration},
        )
