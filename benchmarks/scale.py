"""How much `make bench` and `make bench-quick` measure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    recipients: int
    # every one of these settings of the yardstick is tried on so many mails, and the best one measured
    yardstick_settings: tuple[tuple[int, int], ...]
    yardstick_trial: int
    resend_recipients: int
    limited_seconds: int
    memory_recipients: tuple[int, ...]
    scheduled_rows: tuple[int, int]
    import_rounds: int


# (processes, threads per process) of django-post-office
FULL = Scale(
    recipients=100_000,
    yardstick_settings=((2, 1), (2, 3), (3, 3), (3, 6)),
    yardstick_trial=4_000,
    resend_recipients=20_000,
    limited_seconds=30,
    memory_recipients=(10_000, 100_000, 1_000_000),
    scheduled_rows=(10_000, 1_000_000),
    import_rounds=9,
)
QUICK = Scale(
    recipients=10_000,
    yardstick_settings=((3, 3),),
    yardstick_trial=0,
    resend_recipients=10_000,
    limited_seconds=5,
    memory_recipients=(1_000, 10_000),
    scheduled_rows=(10_000, 100_000),
    import_rounds=3,
)
