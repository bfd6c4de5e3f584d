"""The part of docs/honesty.md that the soak writes, by itself or when `honesty` is told to: a row for each provider."""

from dataclasses import dataclass
from pathlib import Path

from guestguard_dagster_tests.crash.providers import Provider
from guestguard_dagster_tests.crash.tables import NAMES, row, states
from guestguard_dagster_tests.crash.verdict import Verdict

DOCUMENT = Path(__file__).parents[2] / "docs" / "honesty.md"

_BEGINS, _ENDS = "<!-- soak -->", "<!-- end of soak -->"
_NAMES = tuple(NAMES.values())
_COLUMNS = (
    *("provider", "mails", "runs killed", "PostgreSQL killed", "mails per second"),
    *("sent", "failed", "unknown", "arrived", "lost", "doubled"),
)
_WORDS = """\
## At full speed

Two runs send as fast as they can, while runs and PostgreSQL are killed at random instants; leases run out by
themselves. *Arrived* counts the unknown ones that did arrive. Written by
`python -m guestguard_dagster_tests.crash.soak`.
"""


@dataclass(frozen=True, slots=True)
class SoakResult:
    """What came of it; `kills` is how often a run was killed."""

    provider: Provider
    kills: int
    database_kills: int
    seed: int
    seconds: float
    verdict: Verdict

    @property
    def rate(self) -> int:
        """Mails per second, over all kills and restarts."""
        return round(self.verdict.mails / self.seconds)

    def __str__(self) -> str:
        verdict = self.verdict
        return (
            f"{NAMES[self.provider]}: {self.kills} runs and {self.database_kills} times PostgreSQL killed in "
            f"{self.seconds:.0f} s, {self.rate} mails per second (seed {self.seed})\n"
            f"lost {verdict.lost}, doubled {verdict.doubled}, unknown {states(verdict)[2]} "
            f"(of which {verdict.arrived_unknown} arrived)\n{verdict}"
        )


def write_result(path: Path, result: SoakResult) -> None:
    """Put this result into the document, in the place of the provider's last one; the rest stays as it is."""
    document = path.read_text()
    before, _, rest = document.partition(_BEGINS)
    _, _, after = rest.partition(_ENDS)
    path.write_text(f"{before}{section_of(document, result)}{after}")


def section_of(document: str, *results: SoakResult) -> str:
    """The section as it stands in this document, with these results in it; without any, as it stands."""
    rows = {name: line for line in _lines(document) for name in _NAMES if line.startswith(f"| {name} |")}
    rows |= {NAMES[result.provider]: row(_values(result)) for result in results}
    if not rows:
        return f"{_BEGINS}\n{_ENDS}"
    rule = "|".join(["---", *["---:"] * (len(_COLUMNS) - 1)])
    lines = [row(_COLUMNS), f"|{rule}|", *(rows[name] for name in _NAMES if name in rows)]
    return "\n".join([_BEGINS, _WORDS, *lines, "", _ENDS])


def _lines(document: str) -> list[str]:
    _, _, rest = document.partition(_BEGINS)
    return rest.partition(_ENDS)[0].splitlines()


def _values(result: SoakResult) -> tuple[object, ...]:
    verdict = result.verdict
    return (
        *(NAMES[result.provider], verdict.guests, result.kills, result.database_kills, result.rate),
        *(*states(verdict), verdict.arrived_unknown, verdict.lost, verdict.doubled),
    )
