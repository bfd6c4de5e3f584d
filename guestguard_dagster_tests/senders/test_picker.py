"""The picker: which settings lead to which sender, and what half a configuration is told."""

import logging

import pytest

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.outcomes import OutcomeClass
from guestguard_dagster.senders.log import LogSender
from guestguard_dagster.senders.picker import announce, pick_senders
from guestguard_dagster.settings import Settings, SettingsInvalid
from guestguard_dagster_tests.senders.items import PermitFor, classes, hand_off_all, mails, text

RESEND = {"resend_api_key": "re_secret", "resend_from_email": "events@guestguard.example"}
SMTP = {"smtp_host": "mail.guestguard.example", "smtp_from_email": "events@guestguard.example"}


TWILIO = {"twilio_account_sid": "AC1", "twilio_auth_token": "token", "twilio_from_number": "+15005550006"}


def picked(**settings: object) -> tuple[str, str]:
    senders = pick_senders(Settings.model_validate(settings))
    announce(senders)
    senders.close()
    return senders.email.provider, senders.sms.provider


def test_without_any_provider_everything_goes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert picked() == ("log", "log")
    assert "no provider for email is configured" in caplog.text
    assert "no provider for sms is configured" in caplog.text


@pytest.mark.parametrize(
    ("settings", "email"),
    [
        (SMTP, "smtp"),
        (RESEND, "resend"),
        (SMTP | RESEND, "resend"),
    ],
)
def test_the_first_provider_with_settings_is_taken(settings: dict[str, object], email: str) -> None:
    assert picked(**settings)[0] == email


def test_the_choice_is_logged_without_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        picked(**SMTP, smtp_username="postmaster@guestguard.example", smtp_password="hunter2")
    assert "email goes through smtp, account smtp:mail.guestguard.example:587:postmaster-" in caplog.text
    assert "hunter2" not in caplog.text
    assert "postmaster@" not in caplog.text


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"resend_api_key": "re_secret"}, "RESEND_FROM_EMAIL"),
        ({**RESEND, **SMTP, "resend_from_email": None}, "RESEND_FROM_EMAIL"),
        ({"smtp_host": "mail.guestguard.example"}, "SMTP_FROM_EMAIL"),
        ({**SMTP, "smtp_from_email": "nobody"}, "SMTP_FROM_EMAIL"),
        ({**SMTP, "smtp_username": "postmaster"}, "SMTP_PASSWORD"),
        ({**SMTP, "smtp_password": "secret"}, "SMTP_USERNAME"),
        ({**TWILIO, "twilio_from_number": "+1 500"}, "TWILIO_FROM_NUMBER"),
        ({**SMTP, "smtp_ca_file": "/nowhere/authority.pem"}, "SMTP_CA_FILE"),
    ],
)
def test_half_a_configuration_is_refused_by_name(settings: dict[str, object], named: str) -> None:
    with pytest.raises(SettingsInvalid, match=named):
        picked(**settings)


def test_texts_go_through_twilio_with_a_number_or_a_messaging_service() -> None:
    assert picked(**TWILIO)[1] == "twilio"
    assert picked(**{**TWILIO, "twilio_from_number": None, "twilio_messaging_service_sid": "MG1"})[1] == "twilio"


@pytest.mark.parametrize("missing", list(TWILIO))
def test_with_half_of_twilio_texts_go_to_the_log_and_the_start_says_why(
    missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert picked(**{**TWILIO, missing: None})[1] == "log"
    assert f"twilio cannot be used: {missing.upper()}" in caplog.text


def test_the_log_sender_takes_everything_and_sends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    items = mails(120)
    with caplog.at_level(logging.DEBUG):
        outcomes = hand_off_all(LogSender(MessageChannel.EMAIL), items)
        texts = hand_off_all(LogSender(MessageChannel.SMS), [text(500)])
    assert classes(outcomes) == [OutcomeClass.DRY_RUN] * 120
    assert classes(texts) == [OutcomeClass.DRY_RUN]
    assert "500" in caplog.text
    for personal in (items[0].to_email, items[0].to_name, items[0].subject, items[0].text, text().to_phone):
        assert personal not in caplog.text


def test_the_log_sender_too_stops_when_the_lease_is_lost() -> None:
    assert classes(hand_off_all(LogSender(MessageChannel.EMAIL), mails(60), PermitFor(0))) == [None] * 60
