"""SES's webhook: events that SES publishes to an SNS topic, and SNS posts here."""

import json
from collections.abc import Mapping
from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request

from guestguard_dagster.senders.base import SignatureInvalid
from guestguard_dagster.senders.ses.provider import SES
from guestguard_dagster.senders.ses.sns import SnsUnreachable
from guestguard_dagster.web.access import AppServices
from guestguard_dagster.web.problems import ApiProblem, public_problems
from guestguard_dagster.web.services import Services
from guestguard_dagster.web.webhooks.receiving import Taken, not_configured, refused, take

router = APIRouter(tags=["webhooks"])

# SNS posts JSON and calls it text.
_BODY = {
    "required": True,
    "content": {kind: {"schema": {"type": "string"}} for kind in ("text/plain", "application/json")},
}


@router.post("/webhooks/ses", responses=public_problems(403, 404), openapi_extra={"requestBody": _BODY})
async def take_ses_event(request: Request, services: AppServices) -> Taken:
    """What became of a mail, as SES tells it. A subscription of the configured topic is confirmed by itself."""
    try:
        message = json.loads(await request.body())
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise ApiProblem(422, "invalid", "the message is not a JSON object")
    return await run_sync(_take, services, message)


def _take(services: Services, message: Mapping[str, Any]) -> Taken:
    if services.sns is None:
        raise not_configured(SES, "SES_SNS_TOPIC_ARN")
    try:
        services.sns.verify(message)
        if message["Type"] == "SubscriptionConfirmation":
            services.sns.confirm(message)
    except SignatureInvalid as problem:
        raise refused(SES, problem) from None
    except SnsUnreachable as problem:
        raise ApiProblem(503, "sns_unreachable", str(problem), headers={"Retry-After": "60"}) from None
    if message["Type"] != "Notification":
        return Taken(new=True)
    return take(services, SES, str(message.get("MessageId")), _event(message))


def _event(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """The SES event inside the SNS message; empty for anything else, such as SNS's own test message."""
    try:
        event = json.loads(str(message.get("Message")))
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}
