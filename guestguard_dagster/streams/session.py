"""One connection of nats-py, made within two seconds or not at all, and what its errors mean."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guestguard_dagster.streams.access import NatsAccess
from guestguard_dagster.streams.errors import StreamFailed, StreamMissing, StreamRefused, StreamUnavailable

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js.client import JetStreamContext

CONNECT_SECONDS = 2.0
CALL_SECONDS = 5.0
_CLOSE_SECONDS = 1.0


@dataclass(slots=True)
class Session:
    """A live connection, with the pull subscription of every consumer that was fetched from."""

    client: "Client"
    jetstream: "JetStreamContext"
    subscriptions: dict[str, "JetStreamContext.PullSubscription"] = field(default_factory=dict)
    # by consumer, as the server has it: who set it up may have meant another limit than ours
    most_deliveries: dict[str, int | None] = field(default_factory=dict)

    async def close(self) -> None:
        try:
            await asyncio.wait_for(self.client.close(), _CLOSE_SECONDS)
        except (OSError, TimeoutError):
            return  # the server has gone before us


async def connect(access: NatsAccess) -> Session:
    """Raises StreamUnavailable or StreamRefused, after two seconds at the latest."""
    # nats-py takes long to import, and only processes that talk to NATS need it.
    from nats.aio.client import Client
    from nats.errors import Error

    client = Client()
    problems: list[Exception] = []

    async def remember(problem: Exception) -> None:
        problems.append(problem)

    options = access.options()
    try:
        await asyncio.wait_for(
            client.connect(
                **options,
                name="guestguard",
                error_cb=remember,
                connect_timeout=2,
                # With no pause, every server is tried twice at once. Later on, a lost connection is made anew by us.
                allow_reconnect=False,
                reconnect_time_wait=0,
                max_reconnect_attempts=1,
            ),
            CONNECT_SECONDS,
        )
    except TimeoutError:
        await _give_up(client)
        raise _unreachable(access, f"no answer within {CONNECT_SECONDS:.0f} seconds") from None
    except (Error, OSError) as error:
        await _give_up(client)
        raise _why(access, [error, *problems]) from None
    except Exception as error:
        # nkeys raises what its base32 and its cryptography raise.
        await _give_up(client)
        raise StreamRefused(
            f"the credentials for NATS cannot be read ({type(error).__name__}); check the file"
        ) from None
    return Session(client, client.jetstream(timeout=CALL_SECONDS))


@contextmanager
def explained(access: NatsAccess) -> Iterator[None]:
    """nats-py's errors during a call as ours."""
    from nats.errors import Error
    from nats.js.errors import APIError, NoStreamResponseError, NotFoundError, ServiceUnavailableError

    try:
        yield
    except NotFoundError as error:
        raise StreamMissing(f"NATS at {access.place}: {error.description}") from None
    except (ServiceUnavailableError, NoStreamResponseError):
        raise StreamUnavailable(
            f"JetStream does not answer at {access.place}: it is switched off there, or has no leader at the moment"
        ) from None
    except APIError as error:
        raise StreamRefused(f"NATS at {access.place} refuses: {error.description}") from None
    except (Error, OSError, TimeoutError):
        raise _unreachable(access, "the connection was lost") from None


async def _give_up(client: "Client") -> None:
    try:
        await asyncio.wait_for(client.close(), _CLOSE_SECONDS)
    except (OSError, TimeoutError, AssertionError):
        return  # nothing of it was ever used; nats-py asserts that a client it closes had begun to connect


def _why(access: NatsAccess, problems: list[Exception]) -> StreamFailed:
    import ssl

    texts = [str(problem).lower() for problem in problems]
    if any("authorization" in text or "authentication" in text for text in texts):
        return StreamRefused(
            f"NATS at {access.place} refuses these credentials; "
            "check NATS_CREDS_FILE, NATS_NKEY_SEED_FILE, NATS_TOKEN, or NATS_USER and NATS_PASSWORD"
        )
    if any(isinstance(problem, ssl.SSLError) for problem in problems):
        return StreamRefused(
            f"NATS at {access.place}: the TLS handshake failed; check NATS_TLS_CA_FILE and the host's name"
        )
    refused = any(isinstance(problem, ConnectionRefusedError) for problem in problems)
    return _unreachable(access, "connection refused" if refused else "no connection")


def _unreachable(access: NatsAccess, why: str) -> StreamUnavailable:
    return StreamUnavailable(f"NATS at {access.place} cannot be reached ({why}); check that it runs, and NATS_URL")
