"""Mail through Amazon SES v2: raw MIME over a few kept connections. Not repeatable: SES takes no idempotency key."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from guestguard_dagster.domain.callbacks import tags_of
from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.rendering.addresses import AddressInvalid, ascii_address
from guestguard_dagster.senders.base import HandOff, Mail, Permit, RateLimit
from guestguard_dagster.senders.http_session import HTTP_TIMEOUTS
from guestguard_dagster.senders.one_by_one import call_each
from guestguard_dagster.senders.raw_mail import MailComposer
from guestguard_dagster.senders.ses.errors import of_botocore, of_refusal

logger = logging.getLogger(__name__)

GROUP_SIZE = 50

_PARALLEL_REQUESTS = 8

# At DEBUG it logs whole requests, addresses included.
logging.getLogger("botocore").setLevel(logging.INFO)


@dataclass(frozen=True, slots=True)
class SesAccess:
    """Which SES. Credentials come from where every AWS client finds them; `endpoint_url` replaces AWS's own."""

    region: str
    configuration_set: str | None = None
    endpoint_url: str | None = None
    timeouts: tuple[float, float] = HTTP_TIMEOUTS


@dataclass(frozen=True, slots=True)
class _RawMail:
    tags: dict[str, str]
    recipient: str
    content: bytes


_Prepared = _RawMail | Outcome


class SesSender:
    """One sending address in one region."""

    provider = "ses"
    batch_size = GROUP_SIZE
    repeatable = False
    overlaps = False

    def __init__(self, access: SesAccess, composer: MailComposer) -> None:
        self.account = f"ses:{access.region}:{composer.from_email.rpartition('@')[2]}"
        self._access = access
        self._composer = composer
        connect, read = access.timeouts
        self._client = boto3.session.Session().client(
            "sesv2",
            region_name=access.region,
            endpoint_url=access.endpoint_url,
            config=Config(
                connect_timeout=connect,
                read_timeout=read,
                max_pool_connections=_PARALLEL_REQUESTS,
                # A repeat by botocore could double a mail; the engine decides about repeats.
                retries={"total_max_attempts": 1, "mode": "standard"},
            ),
        )
        self._workers = ThreadPoolExecutor(max_workers=_PARALLEL_REQUESTS, thread_name_prefix="ses")

    @cached_property
    def rate_limit(self) -> RateLimit | None:
        """What the account takes, asked once; None where the credentials may not ask."""
        try:
            rate = float(self._client.get_account()["SendQuota"]["MaxSendRate"])
        except (ClientError, BotoCoreError, KeyError) as error:
            logger.warning(
                "the send rate of %s cannot be read (%s): no limit is kept", self.account, type(error).__name__
            )
            return None
        return RateLimit(rate, "recipient") if rate > 0 else None

    def prepare(self, items: Sequence[Mail]) -> list[HandOff]:
        members, prepared = tuple(mail.delivery_id for mail in items), tuple(map(self._raw, items))
        return [HandOff(members, "SendEmail", body=None, payload=prepared)] if items else []

    def hand_off(self, request: HandOff, permit: Permit) -> list[Outcome | None]:
        if not isinstance(request.payload, tuple):
            raise ValueError(f"hand-off {request.key} was not prepared by this sender; SES cannot repeat a hand-off")
        possible = [prepared for prepared in request.payload if isinstance(prepared, _RawMail)]
        outcomes = iter(call_each(self._workers, possible, self._call, permit))
        return [next(outcomes) if isinstance(prepared, _RawMail) else prepared for prepared in request.payload]

    def close(self) -> None:
        self._workers.shutdown()
        self._client.close()

    def _raw(self, mail: Mail) -> _Prepared:
        try:
            tags = tags_of(mail.delivery_id, mail.installation)
            return _RawMail(tags, ascii_address(mail.to_email), self._composer.compose(mail))
        except AddressInvalid as problem:
            return Outcome(OutcomeClass.PERMANENT, error_class="invalid_address", detail=f"{problem}; correct it")

    def _call(self, raw: _RawMail) -> Outcome:
        request: dict[str, object] = {
            "FromEmailAddress": self._composer.from_email,
            "Destination": {"ToAddresses": [raw.recipient]},
            "Content": {"Raw": {"Data": raw.content}},
            "EmailTags": [{"Name": name, "Value": value} for name, value in raw.tags.items()],
        }
        if self._access.configuration_set is not None:
            request["ConfigurationSetName"] = self._access.configuration_set
        try:
            answer = self._client.send_email(**request)
        except ClientError as error:
            return of_refusal(error, sender=self._composer.from_email, recipient=raw.recipient)
        except BotoCoreError as error:
            return of_botocore(error)
        return Outcome(OutcomeClass.SENT, answer.get("MessageId"))
