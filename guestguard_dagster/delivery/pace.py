"""How soon the engine looks, waits and tries again."""

from dataclasses import dataclass
from datetime import timedelta

FIRST_BACKOFF = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Pace:
    """What a send goes by where nobody asks for another.

    look_again: how often a run that waits for the due instant reads its messages, which a host may edit
    renew_every: how often a run says that its messages are being worked on, and wakes those to be tried again
    longest_stay: a run does not hold its slot for a longer wait; its messages are deferred to another run
    first_backoff: the wait before a recipient's second try; it doubles from there
    facts_hold: what was composed longer ago is composed anew, or given back
    """

    look_again: timedelta = timedelta(seconds=5)
    renew_every: timedelta = timedelta(seconds=15)
    longest_stay: timedelta = timedelta(seconds=45)
    first_backoff: timedelta = FIRST_BACKOFF
    facts_hold: timedelta = timedelta(seconds=1)


NORMAL_PACE = Pace()
