"""The proof for events: `python -m benchmarks.event_burst --events 100000 --provider resend`.

A burst with 5 % duplicates and 1 % nonsense is published at once. While event runs work it off, NATS is restarted and
event runs are killed inside hand-offs. Then every mail that arrived is held against every event. Exits 1 if a promise
was broken.
"""

import argparse
import random
import sys

from benchmarks.stage import CACHE, Stage, open_stage
from guestguard_dagster.notifications.registry import declare_stream
from guestguard_dagster.settings import Settings
from guestguard_dagster_tests.crash.event_burst import Burst, BurstStage, Verdict, make_burst
from guestguard_dagster_tests.crash.loopbacks import loopback
from guestguard_dagster_tests.crash.providers import Access, Provider


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--provider", choices=["resend", "smtp"], default="resend")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--seed", type=int, default=None, help="a seed of an earlier run; the timing differs anyhow")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    provider = Provider(options.provider)
    _tell(f"{options.events:,} events over {provider}, seed {seed}")
    with open_stage() as stage:
        burst, verdict = _measure(stage, provider, options.events, options.kills, options.restarts, seed)
    _tell(str(verdict))
    broken = _broken(burst, verdict, provider)
    sys.exit(f"broken: {', '.join(broken)}" if broken else 0)


def _measure(
    stage: Stage, provider: Provider, events: int, kills: int, restarts: int, seed: int
) -> tuple[Burst, Verdict]:
    declaration = declare_stream(Settings())
    with stage.database("events") as (database, _), loopback(provider) as server:
        burst = make_burst(database, events, seed)
        access = Access(provider, server.port, logs_in=provider is Provider.SMTP)
        # A folder of its own below the stage's, which is emptied when the next one opens.
        work = BurstStage(database, server, access, stage.folder / "nats", declaration, tell=_tell)
        patience = 600 + events / 50
        return burst, work.run(burst, kills=kills, restarts=restarts, seed=seed, patience=patience)


def _broken(burst: Burst, verdict: Verdict, provider: Provider) -> list[str]:
    promises = {
        "a mail came twice": verdict.doubled == 0,
        "a mail came to nobody of the burst": verdict.stray == 0,
        "a mail is missing": verdict.missing == (0 if provider is Provider.RESEND else verdict.missing_and_unknown),
        "dead letters are not the malformed events": verdict.dead_letters == burst.malformed,
        "duplicates were not told apart": verdict.statuses["duplicate"] == burst.duplicates,
        "something is left": verdict.pending + verdict.unacked + verdict.unsettled == 0,
    }
    return [promise for promise, is_kept in promises.items() if not is_kept]


def _tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    CACHE.mkdir(parents=True, exist_ok=True)
    main()
