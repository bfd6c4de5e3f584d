"""`python -m benchmarks [--quick]`: prints a ratio a line, and fails when one does not hold."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator

from benchmarks import due_messages, imports, memory, resend_path, throughput
from benchmarks.figures import BenchImpossible, Section
from benchmarks.postfix import unpack_postfix
from benchmarks.report import write_report
from benchmarks.scale import FULL, QUICK, Scale
from benchmarks.stage import CACHE, REPOSITORY, Stage, open_stage


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer recipients, and no page is written")
    quick = parser.parse_args().quick
    try:
        sections = list(_measured(QUICK if quick else FULL))
    except BenchImpossible as problem:
        sys.exit(f"the bench cannot run: {problem}")
    if not quick:
        write_report(REPOSITORY / "docs", sections)
    failed = [ratio for section in sections for ratio in section.ratios if not ratio.holds]
    sys.exit(f"{len(failed)} ratios do not hold" if failed else 0)


def _measured(scale: Scale) -> Iterator[Section]:
    CACHE.mkdir(parents=True, exist_ok=True)
    postfix = unpack_postfix(CACHE)
    questions: list[Callable[[Stage], Section]] = [
        lambda stage: throughput.measure(stage, postfix, scale),
        lambda stage: resend_path.measure(stage, scale),
        lambda stage: memory.measure(stage, postfix, scale),
        lambda stage: due_messages.measure(stage, scale),
        lambda stage: imports.measure(stage, scale),
    ]
    with open_stage() as stage:
        for question in questions:
            started = time.monotonic()
            section = question(stage)
            print(f"\n{section.title} ({time.monotonic() - started:.0f} s)")
            for figure in section.figures:
                print(f"  {figure.name}: {figure.shown}")
            for ratio in section.ratios:
                print(ratio, flush=True)
            yield section


if __name__ == "__main__":
    main()
