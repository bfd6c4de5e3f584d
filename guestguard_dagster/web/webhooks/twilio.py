"""Twilio's webhook: what became of a text, and what guests write back."""

from collections.abc import Mapping
from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from starlette.responses import Response
from twilio.request_validator import RequestValidator

from guestguard_dagster.senders.twilio.callbacks import CALLBACK_PATH, callback_key, read
from guestguard_dagster.senders.twilio.provider import TWILIO
from guestguard_dagster.web.access import AppServices
from guestguard_dagster.web.forms import form_fields
from guestguard_dagster.web.problems import ApiProblem, public_problems
from guestguard_dagster.web.public.layout import form
from guestguard_dagster.web.services import Services
from guestguard_dagster.web.webhooks.receiving import not_configured, refused, take

router = APIRouter(tags=["webhooks"])

# Nothing is said back: Twilio itself answers STOP and START.
_NO_REPLY = '<?xml version="1.0" encoding="UTF-8"?><Response/>'
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"description": "taken", "content": {"text/xml": {"schema": {"type": "string"}}}}
}


@router.post(
    CALLBACK_PATH,
    response_class=Response,
    responses={**public_problems(403, 404), **_ANSWER},
    openapi_extra={"requestBody": form(MessageSid={"type": "string"}, MessageStatus={"type": "string"})},
)
async def take_twilio_callback(request: Request, services: AppServices) -> Response:
    """What became of a text, or what a guest wrote back."""
    fields = await form_fields(request)
    signature = request.headers.get("X-Twilio-Signature", "")
    await run_sync(_take, services, request.url.query, fields, signature, dict(request.query_params))
    return Response(_NO_REPLY, media_type="text/xml")


def _take(services: Services, query: str, fields: Mapping[str, str], signature: str, tags: Mapping[str, str]) -> None:
    token = services.settings.twilio_auth_token
    if token is None:
        raise not_configured(TWILIO, "TWILIO_AUTH_TOKEN")
    # What Twilio called and signed is the public address, whatever a proxy made of it on the way.
    called = services.settings.public_base_url.rstrip("/") + CALLBACK_PATH + (f"?{query}" if query else "")
    validator = RequestValidator(token.get_secret_value())  # type: ignore[no-untyped-call]
    if not validator.validate(called, dict(fields), signature):  # type: ignore[no-untyped-call]
        raise refused(TWILIO, "the signature is not of the account's token for this address")
    key = callback_key(fields)
    if key is None:
        raise ApiProblem(422, "invalid", "MessageSid and MessageStatus are missing")
    payload = {**tags, **fields}
    keyword = read(payload).keyword
    take(services, TWILIO, key, payload, thread=keyword.thread if keyword else None)
