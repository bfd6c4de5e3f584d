"""What the tests of SMTP have in common."""

import time
from collections.abc import Callable

from guestguard_dagster.senders.smtp.connect import SmtpTimeouts
from guestguard_dagster.senders.smtp.sending import SmtpSender
from guestguard_dagster_tests.loopback.faults import Fault, FaultKind
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback

PATIENT = SmtpTimeouts()
QUICK = SmtpTimeouts(connect=5, command=0.5, content=0.5)

Start = Callable[..., tuple[SmtpLoopback, SmtpSender]]


def reply(stage: str, text: str, **more: object) -> Fault:
    return Fault.model_validate({"at": stage, "do": FaultKind.REPLY, "reply": text, **more})


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
