"""Mail over SMTP: one run, two runs that share a message, the yardstick, and the limit."""

from benchmarks.figures import Ratio, Section, per_second
from benchmarks.mails import SampleMail
from benchmarks.postfix import Postfix
from benchmarks.scale import Scale
from benchmarks.sending import cpu_figures, send, through_smtp
from benchmarks.stage import CACHE, Stage
from benchmarks.yardstick.running import Yardstick, YardstickSettings, install_yardstick, versions
from guestguard_dagster.settings import Settings

_TIMES_THE_YARDSTICK = 7.5
_MICROSECONDS_OF_THE_RUN = 160
_MICROSECONDS_OF_POSTGRES = 100


def measure(stage: Stage, postfix: Postfix, scale: Scale) -> Section:
    """One message to everyone, over SMTP into smtp-sink."""
    mail = SampleMail.render()
    connections = Settings.model_fields["smtp_connections"].default
    with postfix.sink() as port:
        yardstick = Yardstick(install_yardstick(CACHE), stage, port)
        settings = _best(yardstick, mail, scale)
        # One half before and one after, so that what the machine does meanwhile meets both.
        first_half = yardstick.send(mail, scale.recipients // 2, settings)
        one = send(stage, scale.recipients, through_smtp(port))
        two = send(stage, scale.recipients, through_smtp(port), runs=2)
        theirs = first_half + yardstick.send(mail, scale.recipients // 2, settings)
        limit = scale.recipients / postfix.source(
            port, mails=scale.recipients, octets=mail.octets, sessions=connections
        )
    return Section(
        "Mail over SMTP",
        f"{scale.recipients:,} recipients, {mail.octets / 1000:.1f} kB a mail (text and HTML), over {connections} "
        "connections into "
        "postfix's `smtp-sink`. The time is from the claim of the message to its last row: the audience written down, "
        "every recipient checked before anything leaves, each batch of 100 committed to disk before it leaves, and one "
        f"attempt recorded per mail. The yardstick is {versions()}, with the best of its settings tried here "
        f"({settings}; one batch, a log row per mail). Its time is queueing and sending, as ours has both; one half of "
        "its mails is sent before ours and one after. `smtp-source` is the limit of what SMTP and the sink take: the "
        "same mail over and over, from memory, with no database. Processor time is what the operating system counted, "
        "from the moment that the runs were imported and ready to their end: of all runs together, and of all of "
        "PostgreSQL's processes. It is steadier than a rate.",
        ratios=[
            Ratio("throughput vs django-post-office", two.rate / theirs.rate, at_least=_TIMES_THE_YARDSTICK),
            Ratio(
                "processor time of two runs a mail",
                two.run_microseconds,
                "µs",
                at_most=_MICROSECONDS_OF_THE_RUN if scale.judges_cost else None,
            ),
            Ratio(
                "processor time of PostgreSQL a mail",
                two.postgres_microseconds,
                "µs",
                at_most=_MICROSECONDS_OF_POSTGRES if scale.judges_cost else None,
            ),
            Ratio("throughput of one run vs django-post-office", one.rate / theirs.rate),
            Ratio("throughput of two runs vs one", two.rate / one.rate),
            Ratio("throughput vs smtp-source, the limit", 100 * two.rate / limit, "%"),
        ],
        figures=[
            per_second("two runs", two.recipients, two.seconds),
            per_second("one run", one.recipients, one.seconds),
            *cpu_figures("two runs", two),
            *cpu_figures("one run", one),
            per_second("django-post-office", theirs.mails, theirs.seconds),
            per_second("smtp-source", round(limit), 1),
        ],
    )


def _best(yardstick: Yardstick, mail: SampleMail, scale: Scale) -> YardstickSettings:
    if not scale.yardstick_trial:
        return scale.yardstick_settings[0]
    return max(scale.yardstick_settings, key=lambda each: yardstick.send(mail, scale.yardstick_trial, each).rate)
