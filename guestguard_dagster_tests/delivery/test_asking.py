"""Which messages share a run."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from guestguard_dagster.delivery.asking import group_into_runs
from guestguard_dagster.storage.asks import Ask

NOON = datetime(2026, 12, 5, 12, tzinfo=UTC)

asks_at_any_time = st.lists(
    st.builds(
        Ask,
        message_id=st.uuids(),
        event_id=st.sampled_from([UUID(int=number) for number in range(5)]),
        ask_no=st.integers(min_value=1, max_value=1000),
        due_at=st.timedeltas(min_value=timedelta(), max_value=timedelta(hours=2)).map(lambda offset: NOON + offset),
    ),
    unique_by=lambda ask: ask.message_id,
    max_size=60,
)
slots = st.integers(min_value=-3, max_value=12)


def an_ask(number: int, *, due_in: float = 0, ask_no: int = 1) -> Ask:
    return Ask(UUID(int=number), UUID(int=0), ask_no, NOON + timedelta(seconds=due_in))


@given(asks_at_any_time, slots)
def test_there_are_never_more_runs_than_free_slots_but_one_is_always_asked_for(
    asks: list[Ask], free_slots: int
) -> None:
    runs = group_into_runs(asks, free_slots=free_slots)
    assert len(runs) <= max(free_slots, 1)
    assert bool(runs) == bool(asks)


@given(asks_at_any_time, slots)
def test_every_message_is_in_exactly_one_run(asks: list[Ask], free_slots: int) -> None:
    runs = group_into_runs(asks, free_slots=free_slots)
    placed = [message_id for run in runs for message_id in run.message_ids]
    assert sorted(placed) == sorted(ask.message_id for ask in asks)


@given(asks_at_any_time, slots)
def test_a_run_names_the_events_of_its_messages_and_its_first_instant(asks: list[Ask], free_slots: int) -> None:
    by_id = {ask.message_id: ask for ask in asks}
    for run in group_into_runs(asks, free_slots=free_slots):
        mine = [by_id[message_id] for message_id in run.message_ids]
        assert set(run.event_ids) == {ask.event_id for ask in mine}
        assert len(run.event_ids) == len(set(run.event_ids))
        assert run.due_at == min(ask.due_at for ask in mine)


@given(asks_at_any_time, slots, st.randoms())
def test_the_same_asks_make_the_same_runs_in_whatever_order_they_come(
    asks: list[Ask], free_slots: int, random: object
) -> None:
    shuffled = list(asks)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert group_into_runs(shuffled, free_slots=free_slots) == group_into_runs(asks, free_slots=free_slots)


@given(asks_at_any_time.filter(bool), slots)
def test_an_ask_made_anew_makes_a_new_key(asks: list[Ask], free_slots: int) -> None:
    first, *rest = asks
    again = Ask(first.message_id, first.event_id, first.ask_no + 1, first.due_at)
    before = {run.key for run in group_into_runs(asks, free_slots=free_slots)}
    after = {run.key for run in group_into_runs([again, *rest], free_slots=free_slots)}
    assert len(after - before) == 1
    assert len(before) == len(after), "no two runs share a key"


@given(asks_at_any_time)
def test_with_enough_slots_nobody_shares_a_run_with_what_is_due_seconds_later(asks: list[Ask]) -> None:
    by_id = {ask.message_id: ask for ask in asks}
    for run in group_into_runs(asks, free_slots=1000):
        due = [by_id[message_id].due_at for message_id in run.message_ids]
        assert max(due) - min(due) <= timedelta(seconds=2)


def test_what_is_due_in_the_same_second_shares_a_run() -> None:
    asks = [an_ask(number, due_in=number / 100) for number in range(100)]
    assert len(group_into_runs(asks, free_slots=8)) == 1


def test_groups_are_widened_only_as_far_as_the_slots_ask_for() -> None:
    asks = [an_ask(number, due_in=5 * number) for number in range(10)]
    assert len(group_into_runs(asks, free_slots=10)) == 10
    assert 4 < len(group_into_runs(asks, free_slots=9)) <= 9
