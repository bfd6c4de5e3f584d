"""NATS in operator mode: an operator, one account with JetStream, and the credentials file of one user."""

import base64
import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

import nkeys


@dataclass(frozen=True, slots=True)
class OperatorMode:
    """What the server's configuration says, and what stands in the user's `.creds` file."""

    server_config: str
    creds: str

    @classmethod
    def make(cls) -> "OperatorMode":
        operator = _key(nkeys.PREFIX_BYTE_OPERATOR)
        account, system = _key(nkeys.PREFIX_BYTE_ACCOUNT), _key(nkeys.PREFIX_BYTE_ACCOUNT)
        seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
        user = nkeys.from_seed(bytearray(seed))

        unlimited = {"subs": -1, "data": -1, "payload": -1}
        storage = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
        connections = {"imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}
        operator_jwt = _signed(operator, operator, "operator", {})
        accounts = {
            _name(account): _signed(operator, account, "account", {"limits": unlimited | storage | connections}),
            _name(system): _signed(operator, system, "account", {"limits": unlimited | connections}),
        }
        user_jwt = _signed(account, user, "user", unlimited)

        known = "\n".join(f"  {name}: {jwt}" for name, jwt in accounts.items())
        config = f"operator: {operator_jwt}\nsystem_account: {_name(system)}\nresolver: MEMORY\n"
        return cls(f"{config}resolver_preload: {{\n{known}\n}}\n", _creds_file(user_jwt, seed.decode()))


def _key(prefix: int) -> nkeys.KeyPair:
    return nkeys.from_seed(bytearray(nkeys.encode_seed(os.urandom(32), prefix)))


def _name(key: nkeys.KeyPair) -> str:
    return str(key.public_key.decode())


def _signed(issuer: nkeys.KeyPair, subject: nkeys.KeyPair, kind: str, claims: Mapping[str, object]) -> str:
    """A JWT as NATS writes them: Ed25519 by the issuer's nkey."""
    body = {
        "iat": int(time.time()),
        "iss": _name(issuer),
        "sub": _name(subject),
        "name": kind,
        "nats": {**claims, "type": kind, "version": 2},
    }
    body["jti"] = base64.b32encode(hashlib.sha256(json.dumps(body).encode()).digest()).decode().rstrip("=")
    content = f"{_encoded({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_encoded(body)}"
    return f"{content}.{_base64(issuer.sign(content.encode()))}"


def _encoded(content: dict[str, object]) -> str:
    return _base64(json.dumps(content).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _creds_file(user_jwt: str, seed: str) -> str:
    return (
        f"-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
