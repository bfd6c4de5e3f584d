"""What a bench has to say: ratios, which decide whether it passes, and absolute figures, which are only reported."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Unit = Literal["x", "%", "MB", "µs"]


class BenchImpossible(Exception):
    """The bench cannot run here; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Two things measured in the same run, compared, or what one mail costs. It fails outside of its bounds."""

    name: str
    value: float
    unit: Unit = "x"
    at_least: float | None = None
    at_most: float | None = None

    @property
    def holds(self) -> bool:
        return (self.at_least is None or self.value >= self.at_least) and (
            self.at_most is None or self.value <= self.at_most
        )

    @property
    def shown(self) -> str:
        return _shown(self.value, self.unit)

    @property
    def bound(self) -> str:
        """What is asked of it, in words; empty when it is only reported."""
        if self.at_least is not None:
            return f"at least {_shown(self.at_least, self.unit)}"
        return f"at most {_shown(self.at_most, self.unit)}" if self.at_most is not None else ""

    def __str__(self) -> str:
        line = f"{self.name}: {self.shown}"
        return line if self.holds else f"{line}, but {self.bound} is required"


@dataclass(frozen=True, slots=True)
class Figure:
    """One absolute figure of this machine. `rate` (per second) puts it into the chart."""

    name: str
    shown: str
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """One question's answer. `text` says how it was measured, `plan` is shown as it is."""

    title: str
    text: str
    ratios: Sequence[Ratio] = ()
    figures: Sequence[Figure] = ()
    plan: str = field(default="")


def per_second(name: str, count: int, seconds: float) -> Figure:
    rate = count / seconds
    return Figure(name, f"{rate:,.0f}/s", rate)


def _shown(value: float, unit: Unit) -> str:
    if unit == "x":
        return f"{value:.2f}x" if value < 2 else f"{value:.1f}x"
    return f"{value:.1f} %" if unit == "%" else f"{value:.0f} {unit}"
