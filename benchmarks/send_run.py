"""One run of the real send job in a process of its own, as Dagster would start it.

Says `ready` once everything is imported, reads a message id from standard input, sends that message, and answers with
the most memory that it ever held, in kB.
"""

import sys
from pathlib import Path

from guestguard_dagster.definitions import defs


def main() -> None:
    job = defs.get_job_def("send_scheduled")
    print("ready", flush=True)
    message_id = sys.stdin.readline().strip()
    job.execute_in_process(run_config={"message_ids": [message_id]})
    print(_peak_kilobytes(), flush=True)


def _peak_kilobytes() -> int:
    # Not getrusage: its maximum survives exec, and would be that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1])


if __name__ == "__main__":
    main()
