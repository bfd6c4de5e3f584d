"""Who calls: bearer tokens of an issuer, and the session cookie of the page with its CSRF token."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import jwt

from guestguard_dagster.clock import utc_now
from guestguard_dagster.settings import JwtAlgorithm, Settings, SettingsInvalid
from guestguard_dagster.web.keys import derived_key

SESSION_LASTS = timedelta(hours=12)
CSRF_HEADER = "X-CSRF-Token"

_LEEWAY = timedelta(seconds=30)
_LONGEST_TOKEN = 8_000
_SESSION_AUDIENCE = "guestguard-session"
_SESSION_ALGORITHM = "HS256"


class TokenInvalid(Exception):
    """The token cannot be accepted; the text says why and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user as a token's issuer knows them; the claim `operator` makes an operator."""

    user_id: UUID
    is_operator: bool


@dataclass(frozen=True, slots=True)
class BearerTokens:
    """Tokens of one issuer, for one audience, by one algorithm. `sub` is the id of a user."""

    issuer: str
    audience: str
    algorithm: JwtAlgorithm
    verifying_key: str | bytes = field(repr=False)
    # None where another party issues the tokens and we hold only its public key
    signing_key: str | bytes | None = field(repr=False)

    @classmethod
    def from_settings(cls, settings: Settings) -> "BearerTokens":
        """Raises SettingsInvalid where key and algorithm do not fit."""
        verifying: str | bytes
        if settings.jwt_algorithm == "HS256":
            if settings.jwt_public_key_file is not None:
                raise SettingsInvalid(
                    "JWT_PUBLIC_KEY_FILE is set, but JWT_ALGORITHM is HS256: name the key's algorithm"
                )
            given = settings.jwt_secret.get_secret_value() if settings.jwt_secret else None
            if given is not None and len(given) < 32:
                raise SettingsInvalid("JWT_SECRET is too short to be safe: 32 characters or more")
            verifying = given or derived_key(settings.require_secret_key(), "bearer token")
            return cls(settings.jwt_issuer, settings.jwt_audience, "HS256", verifying, verifying)
        if settings.jwt_public_key_file is None:
            raise SettingsInvalid(f"JWT_ALGORITHM is {settings.jwt_algorithm}: set JWT_PUBLIC_KEY_FILE as well")
        try:
            verifying = settings.jwt_public_key_file.read_text()
            jwt.get_algorithm_by_name(settings.jwt_algorithm).prepare_key(verifying)
        except (OSError, ValueError, TypeError, jwt.InvalidKeyError):
            raise SettingsInvalid(
                f"JWT_PUBLIC_KEY_FILE cannot be read as a public key (PEM) for {settings.jwt_algorithm}"
            ) from None
        return cls(settings.jwt_issuer, settings.jwt_audience, settings.jwt_algorithm, verifying, None)

    def mint(self, user_id: UUID, *, lasts: timedelta, is_operator: bool = False) -> str:
        """A token for this user; with `is_operator` it also opens what is for operators.

        Raises SettingsInvalid where another party issues the tokens.
        """
        if self.signing_key is None:
            raise SettingsInvalid("tokens come from your issuer: JWT_PUBLIC_KEY_FILE only verifies them")
        now = utc_now()
        claims = {"iss": self.issuer, "aud": self.audience, "sub": str(user_id), "iat": now, "exp": now + lasts}
        if is_operator:
            claims["operator"] = True
        return jwt.encode(claims, self.signing_key, algorithm=self.algorithm)

    def identity(self, token: str) -> Identity:
        """Whom the token names, and as what. Raises TokenInvalid."""
        return _identity(_decoded(token, self.verifying_key, self.algorithm, self.audience, self.issuer))


@dataclass(frozen=True, slots=True)
class Session:
    user_id: UUID
    id: str
    is_operator: bool = False


@dataclass(frozen=True, slots=True)
class Sessions:
    """Signed cookies: nothing is stored, and nobody without the key can make one."""

    key: bytes = field(repr=False)
    is_secure: bool

    @classmethod
    def from_settings(cls, settings: Settings) -> "Sessions":
        key = derived_key(settings.require_secret_key(), "session")
        return cls(key, settings.public_base_url.startswith("https://"))

    @property
    def cookie_name(self) -> str:
        """With the prefix that browsers take only from a secure page of this very host."""
        return "__Host-guestguard_session" if self.is_secure else "guestguard_session"

    def open(self, user_id: UUID, *, is_operator: bool = False) -> str:
        """The value of a new session's cookie."""
        now = utc_now()
        claims = {
            "aud": _SESSION_AUDIENCE,
            "sub": str(user_id),
            "jti": secrets.token_urlsafe(16),
            "operator": is_operator,
            "iat": now,
            "exp": now + SESSION_LASTS,
        }
        return jwt.encode(claims, self.key, algorithm=_SESSION_ALGORITHM)

    def read(self, cookie: str) -> Session:
        """Raises TokenInvalid."""
        claims = _decoded(cookie, self.key, _SESSION_ALGORITHM, _SESSION_AUDIENCE, None)
        identity = _identity(claims)
        return Session(identity.user_id, str(claims.get("jti", "")), identity.is_operator)

    def csrf_token(self, session: Session) -> str:
        """What the page sends along with every change, in the header X-CSRF-Token."""
        return hmac.new(self.key, b"csrf\x00" + session.id.encode(), hashlib.sha256).hexdigest()

    def is_csrf_token(self, session: Session, token: str) -> bool:
        return hmac.compare_digest(self.csrf_token(session).encode(), token.encode("utf-8", "replace"))


def _decoded(token: str, key: str | bytes, algorithm: str, audience: str, issuer: str | None) -> dict[str, Any]:
    if len(token) > _LONGEST_TOKEN:
        raise TokenInvalid("the token is too long")
    required = ["exp", "sub", "aud"] + (["iss"] if issuer else [])
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=audience,
            issuer=issuer,
            leeway=_LEEWAY,
            options={"require": required, "strict_aud": True},
        )
    except jwt.ExpiredSignatureError:
        raise TokenInvalid("the token has expired; sign in again") from None
    except (jwt.InvalidAudienceError, jwt.InvalidIssuerError):
        raise TokenInvalid("the token is of another issuer or for another audience") from None
    except (jwt.InvalidTokenError, ValueError):
        raise TokenInvalid("the token is not valid") from None


def _identity(claims: dict[str, Any]) -> Identity:
    return Identity(_user_id(claims), claims.get("operator") is True)


def _user_id(claims: dict[str, Any]) -> UUID:
    try:
        return UUID(claims["sub"])
    except (ValueError, TypeError, AttributeError):
        raise TokenInvalid("the token's subject is not the id of a user") from None
