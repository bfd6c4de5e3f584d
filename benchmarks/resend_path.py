"""Mail through Resend's batches, into the loopback provider of the tests: without a limit, and within one."""

import time

from benchmarks.figures import Figure, Ratio, Section, per_second
from benchmarks.scale import Scale
from benchmarks.sending import Sent, cpu_figures, send
from benchmarks.stage import FROM_EMAIL, Stage
from guestguard_dagster_tests.loopback.http_server import HttpRequest, HttpResponse
from guestguard_dagster_tests.loopback.resend import API_KEY, ResendLoopback

_BATCH = 100
_REQUESTS_PER_SECOND = 10
# requests a second that no run reaches
UNLIMITED = 100_000
_LEAST_USE_PERCENT = 95.0


class _ClockedResend(ResendLoopback):
    """Knows when each request came."""

    def __init__(self, *, requests_per_second: int | None) -> None:
        super().__init__(requests_per_second=requests_per_second)
        self.came_at: list[float] = []

    def answer(self, request: HttpRequest) -> HttpResponse:
        self.came_at.append(time.monotonic())
        return super().answer(request)

    @property
    def rate(self) -> float:
        """Requests per second, from the first to the last."""
        return (len(self.came_at) - 1) / (self.came_at[-1] - self.came_at[0])


def measure(stage: Stage, scale: Scale) -> Section:
    """Batches of a hundred under one idempotency key each, every request written down before it leaves."""
    with _ClockedResend(requests_per_second=None) as unlimited:
        one = _send(stage, scale.resend_recipients, unlimited, UNLIMITED)
        two = _send(stage, scale.resend_recipients, unlimited, UNLIMITED, runs=2)
    with _ClockedResend(requests_per_second=_REQUESTS_PER_SECOND) as limited:
        _send(stage, scale.limited_seconds * _REQUESTS_PER_SECOND * _BATCH, limited, _REQUESTS_PER_SECOND)
    return Section(
        "Mail through Resend",
        f"Batches of {_BATCH}, into the tests' own Resend on loopback, which checks and keeps every mail and shares "
        "the cores. Each batch is compressed and committed to disk before it leaves. The limit is counted by the "
        f"provider: {_REQUESTS_PER_SECOND} requests in any second of its clock, and 429 beyond.",
        ratios=[
            Ratio(
                f"use of a limit of {_REQUESTS_PER_SECOND} requests/s",
                100 * limited.rate / _REQUESTS_PER_SECOND,
                "%",
                at_least=_LEAST_USE_PERCENT,
            ),
            Ratio("requests beyond the limit", 100 * limited.refused_for_rate / len(limited.came_at), "%", at_most=0),
        ],
        figures=[
            per_second("Resend, no limit, two runs", two.recipients, two.seconds),
            per_second("Resend, no limit, one run", one.recipients, one.seconds),
            *cpu_figures("Resend, two runs", two),
            *cpu_figures("Resend, one run", one),
            Figure(f"Resend, one run, {_REQUESTS_PER_SECOND} requests/s", f"{limited.rate:.2f} requests/s"),
        ],
    )


def _send(stage: Stage, recipients: int, provider: ResendLoopback, requests_per_second: int, *, runs: int = 1) -> Sent:
    return send(stage, recipients, through_resend(provider, requests_per_second), runs=runs)


def through_resend(provider: ResendLoopback, requests_per_second: int) -> dict[str, str]:
    """The settings of a Resend on loopback."""
    return {
        "RESEND_API_KEY": API_KEY,
        "RESEND_BASE_URL": provider.url,
        "RESEND_FROM_EMAIL": FROM_EMAIL,
        "RESEND_REQUESTS_PER_SECOND": str(requests_per_second),
    }
