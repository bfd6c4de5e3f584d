"""Which messages share a run."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestguard_dagster.delivery.run_requests import RunToLaunch, group_into_runs
from guestguard_dagster.storage.messages.run_requests import MessageRunRequest

NOON = datetime(2026, 12, 5, 12, tzinfo=UTC)

asks_at_any_time = st.lists(
    st.builds(
        MessageRunRequest,
        message_id=st.uuids(),
        event_id=st.sampled_from([UUID(int=number) for number in range(5)]),
        ask_no=st.integers(min_value=1, max_value=1000),
        ran_out=st.booleans(),
        due_at=st.timedeltas(min_value=timedelta(), max_value=timedelta(hours=2)).map(lambda offset: NOON + offset),
    ),
    unique_by=lambda request: request.message_id,
    max_size=60,
)
slots = st.integers(min_value=-3, max_value=12)


def a_run_request(number: int, *, due_in: float = 0, ask_no: int = 1) -> MessageRunRequest:
    return MessageRunRequest(UUID(int=number), UUID(int=0), ask_no, NOON + timedelta(seconds=due_in))


@given(asks_at_any_time, slots)
def test_there_are_never_more_runs_than_free_slots_but_one_is_always_asked_for(
    requests: list[MessageRunRequest], free_slots: int
) -> None:
    runs = group_into_runs(requests, free_slots=free_slots)
    assert len(runs) <= max(free_slots, 1)
    assert bool(runs) == bool(requests)


@given(asks_at_any_time, slots)
def test_every_message_is_in_exactly_one_run(requests: list[MessageRunRequest], free_slots: int) -> None:
    runs = group_into_runs(requests, free_slots=free_slots)
    placed = [message_id for run in runs for message_id in run.message_ids]
    assert sorted(placed) == sorted(request.message_id for request in requests)


@given(asks_at_any_time, slots)
def test_a_run_names_the_events_of_its_messages_and_its_first_instant(
    requests: list[MessageRunRequest], free_slots: int
) -> None:
    by_id = {request.message_id: request for request in requests}
    for run in group_into_runs(requests, free_slots=free_slots):
        mine = [by_id[message_id] for message_id in run.message_ids]
        assert set(run.event_ids) == {request.event_id for request in mine}
        assert len(run.event_ids) == len(set(run.event_ids))
        assert run.due_at == min(request.due_at for request in mine)


@given(asks_at_any_time, slots, st.randoms())
def test_the_same_asks_make_the_same_runs_in_whatever_order_they_come(
    requests: list[MessageRunRequest], free_slots: int, random: object
) -> None:
    shuffled = list(requests)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert group_into_runs(shuffled, free_slots=free_slots) == group_into_runs(requests, free_slots=free_slots)


@given(asks_at_any_time.filter(bool), slots)
def test_a_run_request_made_anew_makes_a_new_key(requests: list[MessageRunRequest], free_slots: int) -> None:
    first, *rest = requests
    again = MessageRunRequest(first.message_id, first.event_id, first.ask_no + 1, first.due_at, first.ran_out)
    before = {run.key for run in group_into_runs(requests, free_slots=free_slots)}
    after = {run.key for run in group_into_runs([again, *rest], free_slots=free_slots)}
    assert len(after - before) == 1
    assert len(before) == len(after), "no two runs share a key"


@given(asks_at_any_time)
def test_with_enough_slots_nobody_shares_a_run_with_what_is_due_seconds_later(
    requests: list[MessageRunRequest],
) -> None:
    by_id = {request.message_id: request for request in requests}
    for run in group_into_runs(requests, free_slots=1000):
        due = [by_id[message_id].due_at for message_id in run.message_ids]
        assert max(due) - min(due) <= timedelta(seconds=2)


def test_what_is_due_in_the_same_second_shares_a_run() -> None:
    requests = [a_run_request(number, due_in=number / 100) for number in range(100)]
    assert len(group_into_runs(requests, free_slots=8)) == 1


def test_groups_are_widened_only_as_far_as_the_slots_ask_for() -> None:
    requests = [a_run_request(number, due_in=5 * number) for number in range(10)]
    assert len(group_into_runs(requests, free_slots=10)) == 10
    assert 4 < len(group_into_runs(requests, free_slots=9)) <= 9


def crashed(number: int, *, due_in: float = 0) -> MessageRunRequest:
    return MessageRunRequest(UUID(int=number), UUID(int=0), 2, NOON + timedelta(seconds=due_in), ran_out=True)


def sizes(runs: list[RunToLaunch]) -> list[int]:
    return sorted(len(run.message_ids) for run in runs)


def test_a_message_whose_run_crashed_travels_alone() -> None:
    requests = [crashed(1), *(a_run_request(number) for number in range(2, 50)), crashed(50)]
    runs = group_into_runs(requests, free_slots=8)
    assert sizes(runs) == [1, 1, 48]
    assert {UUID(int=1), UUID(int=50)} == {run.message_ids[0] for run in runs if len(run.message_ids) == 1}


def test_more_crashed_messages_than_slots_are_spread_evenly_and_leave_a_slot_to_the_others() -> None:
    many = [crashed(number) for number in range(500)]
    assert sizes(group_into_runs(many, free_slots=8)) == [62, 62, 62, 62, 63, 63, 63, 63]
    runs = group_into_runs([*many, a_run_request(1000)], free_slots=8)
    assert sizes(runs) == [1, 71, 71, 71, 71, 72, 72, 72]
    assert [run.message_ids for run in runs if len(run.message_ids) == 1] == [(UUID(int=1000),)]


@pytest.mark.parametrize("poison", [0, 250, 499])
def test_a_message_that_crashes_every_run_is_alone_after_a_few_rounds(poison: int) -> None:
    """Whoever shares a run with it is not sent, and asked for again; the others are done."""
    left = [crashed(number) for number in range(500)]
    rounds = runs_in_all = 0
    while len(left) > 1:
        runs = group_into_runs(left, free_slots=8)
        runs_in_all += len(runs)
        [unlucky] = [run for run in runs if UUID(int=poison) in run.message_ids]
        left = [request for request in left if request.message_id in unlucky.message_ids]
        rounds += 1
    assert rounds <= 3
    assert runs_in_all <= 24


def test_with_a_single_slot_everything_shares_it() -> None:
    assert sizes(group_into_runs([crashed(1), a_run_request(2), a_run_request(3, due_in=60)], free_slots=1)) == [3]


def test_very_many_messages_of_one_instant_are_shared_out_over_the_free_slots() -> None:
    requests = [a_run_request(number) for number in range(10_000)]
    assert sizes(group_into_runs(requests, free_slots=8)) == [1250] * 8
    assert sizes(group_into_runs(requests[:1000], free_slots=8)) == [500, 500]
