"""The webhook of every provider that calls back: the module of its name in this folder."""

from importlib import import_module

from fastapi import APIRouter

from guestguard_dagster.senders.registry import providers_that_call_back


def webhook_routers() -> list[APIRouter]:
    """In the registry's order. Raises ModuleNotFoundError for a provider that calls back and has no webhook."""
    return [
        import_module(f"guestguard_dagster.web.webhooks.{provider.name}").router
        for provider in providers_that_call_back()
    ]
