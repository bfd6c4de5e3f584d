"""Messages that share a run: one that cannot be composed, crashes its run, or is huge harms no other."""

from uuid import UUID

import pytest
from dagster import DagsterInstance, SensorResult
from sqlalchemy import text

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster_tests.crash.gates import Point, Stop
from guestguard_dagster_tests.crash.passing_time import let_leases_run_out, let_run_requests_run_out, let_waits_pass
from guestguard_dagster_tests.crash.poison import Poison
from guestguard_dagster_tests.crash.providers import batch_size
from guestguard_dagster_tests.crash.scene import GUESTS, Scenario, Scene
from guestguard_dagster_tests.crash.stage import Stage, see_off, start_worker
from guestguard_dagster_tests.crash.verdict import Verdict
from guestguard_dagster_tests.dagster_rooms import environment
from guestguard_dagster_tests.sensors.ticks import tick

_ROUNDS = 5
_GIANT = 1000
_SMALL, _SMALL_MESSAGES = 5, 20
_GIANT_BATCHES_BEFORE_STOP = 3


def _recipient(scene: Scene) -> Verdict:
    """In the middle of a batch; nothing is repaired before the message ends."""
    with scene.stage() as stage:
        poison = Poison(stage.guest_ids(stage.message_ids[0])[GUESTS // 2])
        stage.run_hastily(poison=poison)
        verdict = stage.judge()
        return verdict.but(
            failed_beside_it=verdict.states[DeliveryStatus.FAILED] - 1,
            not_sent=GUESTS - 1 - verdict.states[DeliveryStatus.SENT],
        )


def _message(scene: Scene) -> Verdict:
    """Its runs die, again and again, until the fault is repaired; the others have left long before."""
    with scene.stage(guests=(20, 50, 50)) as stage:
        crashing, *others = stage.message_ids
        poison = Poison(stage.guest_ids(crashing)[0], kills=True)
        for _ in range(_ROUNDS):
            _one_tick(stage, poison)
        kept_back = sum(_pending(stage, message_id) for message_id in others)
        waiting = _pending(stage, crashing)
        stage.settle()
        return stage.judge().but(others_kept_back=kept_back, given_up=20 - waiting)


def _giant(scene: Scene) -> Verdict:
    """Small messages and a giant are due together; in the middle of the giant its host says Stop, later Resume."""
    with scene.stage(guests=(_GIANT, *[_SMALL] * _SMALL_MESSAGES)) as stage:
        giant, *small = stage.message_ids
        messages = MessageRepo(scene.database)
        stop = Stop(Point.BEFORE_CALL, passes=_SMALL_MESSAGES + _GIANT_BATCHES_BEFORE_STOP)
        with stage.start_worker(stop=stop) as worker:
            worker.wait_at_gate()
            messages.hold([giant], reason="its host stopped it")
            before = _arrived(stage, giant)
            worker.open_gate()
            stage.see_off(worker)
        after = _arrived(stage, giant)
        messages.resume(giant)
        stage.settle()
        return stage.judge().but(
            left_after_stop=max(0, after - before - batch_size(scene.provider)),
            small_behind_the_half=_behind_the_half(stage, giant, small),
        )


def _one_tick(stage: Stage, poison: Poison) -> None:
    """What the sensor requests runs for once the runs before are known to be dead, and those runs."""
    let_run_requests_run_out(stage.database)
    let_leases_run_out(stage.database)
    let_waits_pass(stage.database)
    for message_ids in _requested_runs(stage):
        with start_worker(stage.database, stage.access, message_ids, poison=poison) as worker:
            see_off(stage.database, worker)


def _requested_runs(stage: Stage) -> list[tuple[UUID, ...]]:
    """The messages of each run that the due-messages sensor asks for now."""
    url = stage.database.engine.url.render_as_string(hide_password=False)
    with (
        DagsterInstance.ephemeral() as instance,
        pytest.MonkeyPatch.context() as patched,
        environment(patched, url, None),
    ):
        result = tick(instance, "due_messages")
    requests = (result.run_requests or []) if isinstance(result, SensorResult) else []
    return [tuple(UUID(id) for id in request.run_config["message_ids"]) for request in requests]


def _pending(stage: Stage, message_id: UUID) -> int:
    with stage.database.transaction() as connection:
        settled: int = connection.execute(
            text("SELECT count(*) FROM message_deliveries WHERE message_id = :id AND status <> 'pending'"),
            {"id": message_id},
        ).scalar_one()
    return len(stage.guest_ids(message_id)) - settled


def _arrived(stage: Stage, message_id: UUID) -> int:
    return len(stage.addresses(message_id) & stage.server.recipients().keys())


def _behind_the_half(stage: Stage, giant: UUID, small: list[UUID]) -> int:
    """How many guests of the small messages got theirs after half of the giant's."""
    of_giant = stage.addresses(giant)
    in_order = list(stage.server.recipients())
    half = [place for place, address in enumerate(in_order) if address in of_giant][_GIANT // 2 - 1]
    return len(set().union(*map(stage.addresses, small)) & set(in_order[half:]))


NEIGHBOURS = (
    Scenario(
        "poison recipient",
        "for one guest in the middle of a batch composing raises: that one fails alone",
        _recipient,
    ),
    Scenario(
        "poison message",
        "composing one message kills its run, in every run: the other two messages leave meanwhile, and this one once "
        "the fault is repaired",
        _message,
    ),
    Scenario(
        "giant",
        f"a message of {_GIANT:,} guests beside {_SMALL_MESSAGES} of {_SMALL}: the small ones are all handed off "
        "before the half of the giant, and its host's Stop takes effect with the next batch; later it is resumed",
        _giant,
    ),
)
