"""This tree against another commit, by turns: `python -m benchmarks.pairs --against 609b852 [--quick]`.

Both sides use the same database server and the same server that takes the mail. The other commit is checked out into a
temporary folder. What is printed is "old → new" and the ratio; of several pairs, the median counts. `--quick` is one
pair of small messages, well within a minute; with `--only smtp-2` it takes fifteen seconds.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.figures import BenchImpossible
from benchmarks.postfix import Postfix, unpack_postfix
from benchmarks.resend_path import UNLIMITED, through_resend
from benchmarks.scale import FULL
from benchmarks.sending import Sent, through_smtp
from benchmarks.stage import CACHE, REPOSITORY, Stage, open_stage
from guestguard_dagster_tests.loopback.resend import ResendLoopback

# What measures is the same on both sides, whatever the other commit had.
_MEASURING = ("cpu.py", "sending.py", "pair_side.py")
_PARTS = ("smtp-2", "smtp-1", "resend-2")
_VALUES: dict[str, Callable[[Sent], float]] = {
    "mails/s": lambda sent: sent.rate,
    "µs of the run": lambda sent: sent.run_microseconds,
    "µs of PostgreSQL": lambda sent: sent.postgres_microseconds,
}


@dataclass(frozen=True, slots=True)
class _Pair:
    old: Sent
    new: Sent

    def ratio(self, value: Callable[[Sent], float]) -> float:
        return value(self.new) / value(self.old)

    def __str__(self) -> str:
        return " · ".join(
            f"{value(self.old):,.0f} → {value(self.new):,.0f} {name} ({self.ratio(value):.2f}x)"
            for name, value in _VALUES.items()
        )


@dataclass(frozen=True, slots=True)
class _Work:
    title: str
    stage: Stage
    recipients: int
    # opens a server that takes the mail, and gives the settings that lead to it
    provider: Callable[[], AbstractContextManager[dict[str, str]]]
    runs: int

    def measure(self, tree: Path) -> Sent:
        with self.provider() as settings:
            return self._measure(tree, settings)

    def _measure(self, tree: Path, settings: dict[str, str]) -> Sent:
        order = {
            "server": self.stage.server.url("postgres"),
            "recipients": self.recipients,
            "provider": settings,
            "runs": self.runs,
        }
        ended = subprocess.run(
            [sys.executable, "-m", "benchmarks.pair_side"],
            input=json.dumps(order),
            cwd=self.stage.folder,
            env=os.environ | {"PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
        )
        if ended.returncode != 0:
            raise BenchImpossible(f"the code in {tree} could not be measured:\n{ended.stderr[-3000:]}")
        return Sent(**json.loads(ended.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", required=True, metavar="COMMIT")
    parser.add_argument("--recipients", type=int)
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=_PARTS)
    parser.add_argument("--quick", action="store_true", help="one pair of 10,000 recipients, unless told otherwise")
    options = parser.parse_args()
    recipients = options.recipients or (10_000 if options.quick else 100_000)
    pairs = options.pairs or (1 if options.quick else 5)
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        postfix = unpack_postfix(CACHE)
        with open_stage() as stage, _checked_out(options.against) as other:
            works = {
                "smtp-2": _Work("SMTP, two runs", stage, recipients, partial(_smtp, postfix), 2),
                "smtp-1": _Work("SMTP, one run", stage, recipients, partial(_smtp, postfix), 1),
                # The loopback keeps every mail in memory.
                "resend-2": _Work("Resend, two runs", stage, min(recipients, FULL.resend_recipients), _resend, 2),
            }
            for part in options.only:
                _compare(works[part], other, pairs)
    except BenchImpossible as problem:
        sys.exit(f"the pairs cannot be measured: {problem}")


def _compare(work: _Work, other: Path, count: int) -> None:
    print(f"{work.title}, {work.recipients:,} recipients", flush=True)
    pairs = []
    for number in range(count):
        # Each side goes first as often as second, so that what the machine does meanwhile meets both.
        order = [other, REPOSITORY] if number % 2 == 0 else [REPOSITORY, other]
        sent = {tree: work.measure(tree) for tree in order}
        pairs.append(_Pair(sent[other], sent[REPOSITORY]))
        print(f"  {pairs[-1]}", flush=True)
    if count > 1:
        medians = (
            f"{statistics.median(pair.ratio(value) for pair in pairs):.2f}x {name}" for name, value in _VALUES.items()
        )
        print(f"  median: {' · '.join(medians)}", flush=True)


@contextmanager
def _checked_out(commit: str) -> Iterator[Path]:
    """A worktree of the commit with today's measuring in it; removed in the end."""
    folder = Path(tempfile.mkdtemp(prefix="guestguard-bench-other-"))
    tree = folder / "tree"
    try:
        _git("worktree", "add", "--detach", "--force", str(tree), commit)
        for name in _MEASURING:
            shutil.copy(REPOSITORY / "benchmarks" / name, tree / "benchmarks" / name)
        yield tree
    finally:
        shutil.rmtree(folder)
        _git("worktree", "prune")


def _git(*arguments: str) -> None:
    ended = subprocess.run(["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True)
    if ended.returncode != 0:
        raise BenchImpossible(f"git {arguments[0]} failed: {ended.stderr.strip()}")


@contextmanager
def _smtp(postfix: Postfix) -> Iterator[dict[str, str]]:
    with postfix.sink() as port:
        yield through_smtp(port)


@contextmanager
def _resend() -> Iterator[dict[str, str]]:
    with ResendLoopback(requests_per_second=None) as resend:
        yield through_resend(resend, UNLIMITED)


if __name__ == "__main__":
    main()
