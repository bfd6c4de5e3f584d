"""Starting a loopback provider from a shell."""

import argparse
import signal
import threading

from guestguard_dagster_tests.loopback.faults import Fault


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """What every provider's command line has: its port, and faults as JSON."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--fault",
        type=Fault.model_validate_json,
        action="append",
        default=[],
        help='a fault as JSON, e.g. {"at": "rcpt", "do": "reply", "reply": "450 4.2.0 later", "times": 3}',
    )
    return parser


def serve_until_stopped(announcement: str) -> None:
    """Print where the provider listens, and wait for Ctrl-C or SIGTERM."""
    stopped = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stopped.set())
    print(announcement, flush=True)
    stopped.wait()
