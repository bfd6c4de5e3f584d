"""Taking a verified callback in: stored once, announced on NATS, acknowledged. Applying it is a job's work."""

import logging
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from guestguard_dagster.senders.provider import Provider
from guestguard_dagster.web.problems import ApiProblem
from guestguard_dagster.web.services import Services

logger = logging.getLogger(__name__)


class Taken(BaseModel):
    """The acknowledgement. `new` is false for a repeat of what was taken before."""

    new: bool


def take(
    services: Services, provider: Provider, key: str, payload: Mapping[str, Any], *, thread: str | None = None
) -> Taken:
    callback_id = services.callbacks.store(provider.name, key, payload, thread=thread)
    if callback_id is not None:
        services.publisher.announce(callback_id)
    return Taken(new=callback_id is not None)


def refused(provider: Provider, reason: object) -> ApiProblem:
    """The answer to a callback that its provider did not sign."""
    logger.warning("a callback to %s's webhook was refused: %s", provider.name, reason)
    return ApiProblem(403, "signature_invalid", str(reason))


def not_configured(provider: Provider, variable: str) -> ApiProblem:
    return ApiProblem(
        404, "not_configured", f"{variable} is not set: this installation takes no callbacks of {provider.name}"
    )
