"""Faults: what a loopback provider does wrong, at which point, for whom and how often."""

import threading
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class FaultKind(StrEnum):
    """The kinds that begin with `take_` come after the provider took what it was given; the others come before."""

    REPLY = "reply"
    DROP = "drop"
    RESET = "reset"
    HANG = "hang"
    SLOW = "slow"
    TAKE_THEN_REPLY = "take_then_reply"
    TAKE_THEN_DROP = "take_then_drop"
    TAKE_THEN_RESET = "take_then_reset"
    TAKE_THEN_HANG = "take_then_hang"

    @property
    def takes(self) -> bool:
        return self.name.startswith("TAKE_")


class Fault(BaseModel):
    """One fault, also as JSON: `{"at": "rcpt", "do": "reply", "reply": "450 4.7.1 Greylisted"}`.

    `at` is a stage of SMTP (connect, ehlo, starttls, auth, mail, rcpt, data, content_start, content, rset, noop) or the
    path of an HTTP endpoint. `reply` is the SMTP reply, or the body of an HTTP response with `status` and `headers`.
    `seconds` bounds a hang, or is how slow slow is. `only_for` strikes where that text occurs (a recipient, a request
    body). `times` is how often; None: until the faults are cleared. `after` lets that many pass first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: str
    do: FaultKind
    reply: str = ""
    status: int = 500
    headers: dict[str, str] = {}
    seconds: float = 3600
    only_for: str | None = None
    times: int | None = 1
    after: int = 0


class FaultPlan:
    """The faults still to come, in the order they were added. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, *faults: Fault) -> None:
        with self._lock:
            self._faults.extend(faults)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def pending(self) -> list[Fault]:
        with self._lock:
            return list(self._faults)

    def strike(self, at: str, subject: str = "") -> Fault | None:
        """The fault that strikes at this point, counted off; None when all is well."""
        with self._lock:
            for position, fault in enumerate(self._faults):
                if fault.at != at or (fault.only_for is not None and fault.only_for not in subject):
                    continue
                if fault.after > 0:
                    self._faults[position] = fault.model_copy(update={"after": fault.after - 1})
                    return None
                if fault.times is not None and fault.times <= 1:
                    del self._faults[position]
                elif fault.times is not None:
                    self._faults[position] = fault.model_copy(update={"times": fault.times - 1})
                return fault
        return None
