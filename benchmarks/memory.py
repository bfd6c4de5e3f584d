"""The most memory that a run ever holds, by size of the audience: it should not matter."""

from benchmarks.figures import Figure, Ratio, Section
from benchmarks.postfix import Postfix
from benchmarks.scale import Scale
from benchmarks.sending import send, through_smtp
from benchmarks.stage import Stage

_FLAT_WITHIN_MEGABYTES = 100


def measure(stage: Stage, postfix: Postfix, scale: Scale) -> Section:
    """Two runs share each message, so that the largest one takes minutes; the larger of the two counts."""
    with postfix.sink() as port:
        sent = [send(stage, recipients, through_smtp(port), runs=2) for recipients in scale.memory_recipients]
    peaks = [each.peak_megabytes for each in sent]
    return Section(
        "Memory",
        "The most that one run's process ever held (`VmHWM`), Dagster and its imports included; two runs share each "
        "message, and the larger one counts.",
        ratios=[
            Ratio(
                f"memory between {min(scale.memory_recipients):,} and {max(scale.memory_recipients):,} recipients",
                max(peaks) - min(peaks),
                "MB",
                at_most=_FLAT_WITHIN_MEGABYTES,
            )
        ],
        figures=[Figure(f"{each.recipients:,} recipients", f"{each.peak_megabytes:.0f} MB") for each in sent],
    )
