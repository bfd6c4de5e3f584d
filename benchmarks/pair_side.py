"""One measurement by the code of one side of a pair: an order as JSON on standard input, the answer as one JSON line.

`benchmarks.pairs` puts this file, `sending.py` and `cpu.py` into the other side's tree too, so that both sides are
measured alike; all else is the side's own.
"""

import json
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from sqlalchemy.engine import make_url

from benchmarks.figures import BenchImpossible
from benchmarks.sending import send
from benchmarks.stage import Stage
from guestguard_dagster.local.postgres import PostgresServer


class _ServerOfThePair(PostgresServer):
    """The server that both sides use: it belongs to the process that pairs them."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)

    def url(self, database: str = "guestguard") -> str:
        return self._url.set(database=database).render_as_string(hide_password=False)


def main() -> None:
    order = json.load(sys.stdin)
    folder = Path(tempfile.mkdtemp(prefix="guestguard-bench-side-"))
    try:
        stage = Stage(_ServerOfThePair(order["server"]), folder)
        sent = send(stage, order["recipients"], order["provider"], runs=order["runs"])
    except BenchImpossible as problem:
        sys.exit(str(problem))
    finally:
        shutil.rmtree(folder)
    print(json.dumps(asdict(sent)))


if __name__ == "__main__":
    main()
