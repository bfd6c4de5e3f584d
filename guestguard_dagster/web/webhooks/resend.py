"""Resend's webhook: one JSON event per call, signed by Svix."""

import json

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request

from guestguard_dagster.clock import utc_now
from guestguard_dagster.senders.base import SignatureInvalid
from guestguard_dagster.senders.resend import svix
from guestguard_dagster.senders.resend.provider import RESEND
from guestguard_dagster.web.access import AppServices
from guestguard_dagster.web.problems import ApiProblem, public_problems
from guestguard_dagster.web.webhooks.receiving import Taken, not_configured, refused, take

router = APIRouter(tags=["webhooks"])

_BODY = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}


@router.post("/webhooks/resend", responses=public_problems(403, 404), openapi_extra={"requestBody": _BODY})
async def take_resend_event(request: Request, services: AppServices) -> Taken:
    """What became of a mail, as Resend tells it."""
    secret = services.settings.resend_webhook_secret
    if secret is None:
        raise not_configured(RESEND, "RESEND_WEBHOOK_SECRET")
    body = await request.body()
    try:
        key = svix.signing_key(secret.get_secret_value())
        message_id = svix.verify(key, request.headers, body, now=utc_now())
    except SignatureInvalid as problem:
        raise refused(RESEND, problem) from None
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise ApiProblem(422, "invalid", "the event is not a JSON object")
    return await run_sync(take, services, RESEND, message_id, event)
