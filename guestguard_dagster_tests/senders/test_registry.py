"""The registry: what makes a provider configured is said once, and every reader of the list agrees about it."""

from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.local.plan import Plan
from guestguard_dagster.senders.picker import pick_senders
from guestguard_dagster.senders.provider import Provider
from guestguard_dagster.senders.registry import PROVIDERS, configured_provider, providers_of, providers_that_call_back
from guestguard_dagster.settings import Settings, SettingsInvalid
from guestguard_dagster.web.webhooks.routers import webhook_routers

_PACKAGE = Path(__file__).parents[2] / "guestguard_dagster"


def _chosen(provider: Provider) -> Settings:
    """Settings with no more than what chooses this provider."""
    names = [names if isinstance(names, str) else names[0] for names in provider.chosen_by]
    return Settings.model_validate(dict.fromkeys(names, "given"))


def test_every_folder_of_a_provider_is_registered_once_under_its_name() -> None:
    folders = sorted(path.parent.name for path in (_PACKAGE / "senders").glob("*/provider.py"))
    assert sorted(provider.name for provider in PROVIDERS) == folders


def test_email_goes_to_resend_before_smtp_before_ses() -> None:
    assert [provider.name for provider in providers_of(MessageChannel.EMAIL)][:3] == ["resend", "smtp", "ses"]


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_what_chooses_a_provider_are_settings_that_exist_and_choose_it(provider: Provider) -> None:
    for names in provider.chosen_by:
        assert set([names] if isinstance(names, str) else names) <= Settings.model_fields.keys()
    assert configured_provider(provider.channel, _chosen(provider)) is provider
    assert configured_provider(provider.channel, Settings()) is None


@pytest.mark.parametrize("settings", [{"ses_region": "eu-central-1"}, {"ses_from_email": "hello@example.com"}])
def test_the_local_stack_starts_its_mail_catcher_exactly_where_no_mail_would_leave(settings: dict[str, str]) -> None:
    given = Settings.model_validate(settings)
    try:
        senders = pick_senders(given)
        leaves = senders.email.provider != "log"
        senders.close()
    except SettingsInvalid:
        leaves = True  # a provider is chosen, and refused by name until the rest of it is given
    assert Plan(given, {}).starts_mail_catcher is not leaves


def test_every_provider_that_calls_back_has_its_webhook() -> None:
    paths = [route.path for router in webhook_routers() for route in router.routes if isinstance(route, APIRoute)]
    assert paths == [f"/webhooks/{provider.name}" for provider in providers_that_call_back()]
