"""Processor time as the operating system counts it: it says what a mail costs more steadily than its rate does."""

import os

import psutil

_LOOKS = 10


def cpu_seconds(pid: int) -> float:
    """What a process and the children that it has waited for used; also of one that has exited and is not reaped."""
    return sum(psutil.Process(pid).cpu_times()[:4])


def cpu_seconds_of_tree(pid: int) -> float:
    """What a process and all its descendants have used, those that have ended included, as PostgreSQL with backends."""
    for _ in range(_LOOKS):
        before = cpu_seconds(pid)
        try:
            living = sum(cpu_seconds(child.pid) for child in psutil.Process(pid).children(recursive=True))
        except psutil.NoSuchProcess:
            continue
        # A child that ended meanwhile counts in one of the two, and must not in both or in none.
        if (after := cpu_seconds(pid)) - before < 0.02:
            return after + living
    raise RuntimeError(f"the processes below {pid} end faster than they can be counted")


def wait_for_exit(pid: int) -> float:
    """Wait until a child has exited, and return what it used; it is not reaped, so that its Popen still can."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return cpu_seconds(pid)
