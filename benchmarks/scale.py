"""How much `make bench` and `make bench-quick` measure."""

from dataclasses import dataclass

from benchmarks.yardstick.running import WAYS_TO_RENDER, YardstickSettings


@dataclass(frozen=True, slots=True)
class Scale:
    recipients: int
    # whether the half second of Dagster's own work per run is spread over enough mails to judge the cost of one
    judges_cost: bool
    # every one of these settings of the yardstick is tried on so many mails, and the best one measured
    yardstick_settings: tuple[YardstickSettings, ...]
    yardstick_trial: int
    resend_recipients: int
    limited_seconds: int
    memory_recipients: tuple[int, ...]
    scheduled_rows: tuple[int, int]
    import_rounds: int


FULL = Scale(
    recipients=100_000,
    judges_cost=True,
    yardstick_settings=tuple(
        YardstickSettings(processes, threads, renders)
        for processes, threads in ((2, 1), (2, 3), (3, 3), (3, 6))
        for renders in WAYS_TO_RENDER
    ),
    yardstick_trial=4_000,
    resend_recipients=20_000,
    limited_seconds=30,
    memory_recipients=(10_000, 100_000, 1_000_000),
    scheduled_rows=(10_000, 1_000_000),
    import_rounds=9,
)
QUICK = Scale(
    recipients=10_000,
    judges_cost=False,
    yardstick_settings=(YardstickSettings(2, 1, "on delivery"),),
    yardstick_trial=0,
    resend_recipients=5_000,
    limited_seconds=3,
    memory_recipients=(1_000, 10_000),
    scheduled_rows=(10_000, 50_000),
    import_rounds=1,
)
