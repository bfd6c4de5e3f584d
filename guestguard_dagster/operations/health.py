"""Whether this service can do its work, and what keeps it from it: asked by `guestguard doctor` and by monitors.

Every question is answered in a sentence that says what is so and, where something is wrong, what to do. No sentence
carries an address or a secret.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from sqlalchemy.exc import DBAPIError

from guestguard_dagster.delivery.ledger import NOT_KEPT, behind_sentence
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.senders.picker import pick_senders
from guestguard_dagster.settings import Settings, SettingsInvalid
from guestguard_dagster.storage.database import Database, DatabaseFailed
from guestguard_dagster.storage.ledger.position import LedgerRepo
from guestguard_dagster.storage.migrate import current_revision, newest_revision
from guestguard_dagster.storage.operations.alerts import AlertRepo
from guestguard_dagster.storage.operations.checks import LATE, CheckRepo
from guestguard_dagster.storage.operations.ticks import TickRepo
from guestguard_dagster.storage.providers.breakers import BreakerRepo
from guestguard_dagster.streams.access import NatsAccess
from guestguard_dagster.streams.declaration import StreamDeclaration
from guestguard_dagster.streams.errors import StreamFailed
from guestguard_dagster.streams.jetstream import JetStream

# The sensor ticks every 30 seconds; a code server that restarts takes half a minute.
_TICKS_WITHIN = timedelta(minutes=3)
DUE_MESSAGES_SENSOR = "due_messages"


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question, `name`, which stays the same for monitors to watch."""

    name: str
    level: Level
    sentence: str


@dataclass(frozen=True, slots=True)
class Health:
    findings: tuple[Finding, ...]

    @property
    def level(self) -> Level:
        """The worst of them."""
        return max((finding.level for finding in self.findings), key=list(Level).index, default=Level.OK)

    def as_json(self, *, detailed: bool) -> dict[str, object]:
        """`status`, and each finding by its name: its level, and if `detailed` (for operators) its sentence."""
        return {
            "status": self.level.value,
            "findings": {
                finding.name: finding.sentence if detailed else finding.level.value for finding in self.findings
            },
        }


def examine(database: Database, settings: Settings, *, stream: StreamDeclaration | None = None) -> Health:
    """Ask everything that can be asked without a provider; NATS about `stream` alone, which is made if missing."""
    findings = [*_of_database(database), *_of_providers(settings)]
    if all(finding.level is Level.OK for finding in findings[:2]):
        findings += _of_work(database, settings)
    if stream is not None:
        findings.append(_nats(settings, stream))
        if settings.nats_url is None:
            findings.append(_warning("ledger", NOT_KEPT))
    return Health(tuple(findings))


def _of_database(database: Database) -> list[Finding]:
    try:
        found, needed = current_revision(database), newest_revision()
    except (DatabaseFailed, DBAPIError):
        return [
            _error("database", "the database cannot be reached; check that PostgreSQL runs, and DATABASE_URL"),
            _error("migrations", "they cannot be looked up without the database"),
        ]
    reached = _ok("database", "the database answers")
    if found == needed:
        return [reached, _ok("migrations", f"the tables are at version {found}")]
    at = f"at version {found}" if found else "not there"
    return [reached, _error("migrations", f"the tables are {at}, this code needs {needed}: run `guestguard migrate`")]


def _of_providers(settings: Settings) -> list[Finding]:
    """Whether mail and texts have a provider that is configured whole. It is not called."""
    try:
        senders = pick_senders(settings)
    except SettingsInvalid as problem:
        return [_error("providers", str(problem))]
    findings = []
    for channel in MessageChannel:
        sender = senders.for_channel(channel)
        if sender.provider == "log":
            findings.append(
                _warning(f"{channel}_provider", f"no provider for {channel} is configured: none of it is sent")
            )
        else:
            findings.append(_ok(f"{channel}_provider", f"{channel} goes through {sender.provider}"))
    senders.close()
    return findings


def _of_work(database: Database, settings: Settings) -> list[Finding]:
    try:
        return [
            _daemon(database),
            _queue(database),
            _hand_offs(database),
            *_breakers(database, settings),
            _dead_letters(database),
            _alerts(database),
            *_ledger(database, settings),
        ]
    except DatabaseFailed as problem:
        return [_error("work", str(problem))]


def _daemon(database: Database) -> Finding:
    age = TickRepo(database).ages().get(DUE_MESSAGES_SENSOR)
    what_to_do = (
        f"check that dagster-daemon and the code server run, and that the sensor {DUE_MESSAGES_SENSOR} is switched on"
    )
    if age is None:
        return _error("daemon", f"Dagster's daemon has never ticked on this database; {what_to_do}")
    if age > _TICKS_WITHIN:
        return _error("daemon", f"Dagster's daemon has not ticked for {_span(age)}; {what_to_do}")
    return _ok("daemon", f"Dagster's daemon ticked {_span(age)} ago")


def _queue(database: Database) -> Finding:
    overdue = CheckRepo(database).overdue()
    if overdue.passed:
        return _ok("queue", "nothing is late")
    return _error(
        "queue",
        f"{overdue.found} messages or notifications are more than {_span(LATE)} late; look at Dagster's Runs page: are "
        "runs queued, or do they fail?",
    )


def _hand_offs(database: Database) -> Finding:
    stuck = CheckRepo(database).stuck_hand_offs()
    if stuck.passed:
        return _ok("hand_offs", "no hand-off is stuck")
    return _error("hand_offs", f"{stuck.found} deliveries are stuck in a hand-off; the next run of each settles them")


def _breakers(database: Database, settings: Settings) -> list[Finding]:
    """Of the accounts in use: those of keys that were replaced keep nobody from sending."""
    try:
        senders = pick_senders(settings)
    except SettingsInvalid:
        return []
    repo = BreakerRepo(database)
    open_breakers = [
        breaker
        for account in dict.fromkeys(senders.for_channel(channel).account for channel in MessageChannel)
        if (breaker := repo.get(account)) is not None
    ]
    senders.close()
    if not open_breakers:
        return [_ok("breakers", "every provider account takes what it is given")]
    return [
        _error("breakers", f"{breaker.reason} (since {breaker.opened_at:%d %b %H:%M} UTC); messages wait")
        for breaker in open_breakers
    ]


def _dead_letters(database: Database) -> Finding:
    dead = CheckRepo(database).open_dead_letters()
    if dead.passed:
        return _ok("dead_letters", "no event waits to be looked at")
    return _warning(
        "dead_letters", f"{dead.found} events could not be used; run the job list_dead_letters to read them"
    )


def _alerts(database: Database) -> Finding:
    alerts = AlertRepo(database).open()
    if not alerts:
        return _ok("alerts", "no alert is open")
    return _warning("alerts", f"{len(alerts)} alerts are open: {'; '.join(alert.title for alert in alerts[:5])}")


def _ledger(database: Database, settings: Settings) -> list[Finding]:
    """Without NATS there is none, which only `guestguard doctor` says: nobody is to be woken up by it."""
    return [_position_in_ledger(database)] if settings.nats_url is not None else []


def _position_in_ledger(database: Database) -> Finding:
    position = LedgerRepo(database).position()
    if position is None:
        return _warning("ledger", "the ledger was never looked at; the sensor due_messages does, every 30 seconds")
    if sentence := behind_sentence(position):
        return _error("ledger", sentence)
    age = database.now() - position.verified_at
    if age > _TICKS_WITHIN:
        return _warning("ledger", f"the ledger was last looked at {_span(age)} ago; check that NATS runs, and NATS_URL")
    return _ok("ledger", "whatever the ledger says has left is known to the database")


def _nats(settings: Settings, declaration: StreamDeclaration) -> Finding:
    if settings.nats_url is None:
        return _warning("nats", "NATS_URL is not set: RSVPs, fraud scores and invitations do not become mail")
    try:
        with JetStream(NatsAccess.from_settings(settings), declaration) as stream:
            drift = stream.survey().drift
    except (StreamFailed, SettingsInvalid) as problem:
        return _error("nats", str(problem))
    return _warning("nats", "; ".join(drift)) if drift else _ok("nats", "NATS answers, stream and consumers are there")


def _ok(name: str, sentence: str) -> Finding:
    return Finding(name, Level.OK, sentence)


def _warning(name: str, sentence: str) -> Finding:
    return Finding(name, Level.WARNING, sentence)


def _error(name: str, sentence: str) -> Finding:
    return Finding(name, Level.ERROR, sentence)


def _span(age: timedelta) -> str:
    seconds = round(age.total_seconds())
    if seconds < 120:
        return f"{seconds} seconds"
    minutes = seconds // 60
    return f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"
