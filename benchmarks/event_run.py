"""Runs of the real confirmation job in a process of its own, one after the other, until it is killed.

Says `ready` once everything is imported, and the first run is about to begin.
"""

from guestguard_dagster.definitions import defs


def main() -> None:
    job = defs.resolve_job_def("rsvp_confirmation")
    print("ready", flush=True)
    while True:
        job.execute_in_process()


if __name__ == "__main__":
    main()
