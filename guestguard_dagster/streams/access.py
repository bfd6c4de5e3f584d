"""How a NATS server is reached: addresses, credentials and TLS, from the settings. Nothing secret is ever shown."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from guestguard_dagster.settings import Settings, SettingsInvalid

_SCHEMES = ("nats", "tls", "ws", "wss")


@dataclass(frozen=True, slots=True)
class NatsAccess:
    """`urls` may carry a user and a password. At most one way to log in is given."""

    urls: tuple[str, ...] = field(repr=False)
    creds_file: Path | None = None
    nkey_seed_file: Path | None = None
    token: str | None = field(default=None, repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls_ca_file: Path | None = None
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> "NatsAccess":
        """Raises SettingsInvalid for what contradicts itself or names a file that is not there."""
        if settings.nats_url is None:
            raise SettingsInvalid(
                "NATS_URL is not set; write it into .env, or run `guestguard services` for a local server"
            )
        _check_login(settings)
        _check_files(settings)
        return cls(
            urls=_urls(settings.nats_url.get_secret_value()),
            creds_file=settings.nats_creds_file,
            nkey_seed_file=settings.nats_nkey_seed_file,
            token=_opened(settings.nats_token),
            user=settings.nats_user,
            password=_opened(settings.nats_password),
            tls_ca_file=settings.nats_tls_ca_file,
            tls_cert_file=settings.nats_tls_cert_file,
            tls_key_file=settings.nats_tls_key_file,
        )

    @property
    def place(self) -> str:
        """Host and port of every server, for people: without user and password."""
        parts = (urlsplit(url) for url in self.urls)
        return ", ".join(f"{part.hostname}:{part.port or 4222}" for part in parts)

    def options(self) -> dict[str, Any]:
        """As `nats.connect` takes them. Raises SettingsInvalid for certificates that cannot be read."""
        given = {
            "servers": list(self.urls),
            "user_credentials": self.creds_file and str(self.creds_file),
            "nkeys_seed": self.nkey_seed_file and str(self.nkey_seed_file),
            "token": self.token,
            "user": self.user,
            "password": self.password,
            "tls": self._tls_context(),
        }
        return {name: value for name, value in given.items() if value is not None}

    def _tls_context(self) -> ssl.SSLContext | None:
        # Without any of these the client verifies by the system's authorities, whenever the server asks for TLS.
        if self.tls_ca_file is None and self.tls_cert_file is None:
            return None
        try:
            context = ssl.create_default_context(cafile=self.tls_ca_file)
            if self.tls_cert_file is not None:
                context.load_cert_chain(self.tls_cert_file, self.tls_key_file)
        except (OSError, ssl.SSLError):
            raise SettingsInvalid(
                "NATS_TLS_CA_FILE, NATS_TLS_CERT_FILE or NATS_TLS_KEY_FILE cannot be read as PEM certificates and key"
            ) from None
        return context


def _urls(setting: str) -> tuple[str, ...]:
    urls = tuple(part if "://" in part else f"nats://{part}" for part in setting.replace(" ", "").split(",") if part)
    for url in urls:
        try:
            part = urlsplit(url)
            is_valid = part.scheme in _SCHEMES and bool(part.hostname) and part.port != 0
        except ValueError:
            is_valid = False
        if not is_valid:
            raise SettingsInvalid(
                "NATS_URL cannot be read; write it like nats://host:4222, several with commas between"
            )
    return urls


def _check_login(settings: Settings) -> None:
    ways = {
        "NATS_CREDS_FILE": settings.nats_creds_file,
        "NATS_NKEY_SEED_FILE": settings.nats_nkey_seed_file,
        "NATS_TOKEN": settings.nats_token,
        "NATS_USER": settings.nats_user,
    }
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise SettingsInvalid(f"{', '.join(given)}: these are different ways to log in at NATS; set one of them")
    if (settings.nats_user is None) != (settings.nats_password is None):
        raise SettingsInvalid("NATS_USER and NATS_PASSWORD belong together: set both, or neither")
    if (settings.nats_tls_cert_file is None) != (settings.nats_tls_key_file is None):
        raise SettingsInvalid("NATS_TLS_CERT_FILE and NATS_TLS_KEY_FILE belong together: set both, or neither")


def _check_files(settings: Settings) -> None:
    files = {
        "NATS_CREDS_FILE": settings.nats_creds_file,
        "NATS_NKEY_SEED_FILE": settings.nats_nkey_seed_file,
        "NATS_TLS_CA_FILE": settings.nats_tls_ca_file,
        "NATS_TLS_CERT_FILE": settings.nats_tls_cert_file,
        "NATS_TLS_KEY_FILE": settings.nats_tls_key_file,
    }
    for name, path in files.items():
        if path is not None and not path.is_file():
            raise SettingsInvalid(f"{name}: there is no file {path}")


def _opened(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
