"""What it costs to import the definitions: Dagster starts a fresh interpreter for every run."""

import statistics
import subprocess
import sys
import time

from benchmarks.figures import Figure, Ratio, Section
from benchmarks.scale import Scale
from benchmarks.stage import Stage

_BASE = "import dagster, sqlalchemy, psycopg, jinja2"
_OURS = "import guestguard_dagster.definitions"
_AT_MOST = 1.3


def measure(stage: Stage, scale: Scale) -> Section:
    """Fresh interpreters in turn, so that what the machine does meanwhile meets both."""
    for statement in (_BASE, _OURS):
        _seconds(stage, statement)
    pairs = [(_seconds(stage, _BASE), _seconds(stage, _OURS)) for _ in range(scale.import_rounds)]
    base, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
    return Section(
        "Importing the definitions",
        f"A fresh interpreter each, by turns, medians of {scale.import_rounds}: `{_OURS}` against `{_BASE}`. What only "
        "some processes need is imported by its user: the SDKs of Resend, Twilio and SES by their senders, the tables "
        "of phone numbers by the first number, NATS and Alembic by the commands that use them.",
        ratios=[Ratio("import of the definitions vs its frameworks", ours / base, at_most=_AT_MOST)],
        figures=[Figure("import, frameworks alone", f"{base:.2f} s"), Figure("import, definitions", f"{ours:.2f} s")],
    )


def _seconds(stage: Stage, statement: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], cwd=stage.folder, check=True)
    return time.perf_counter() - started
