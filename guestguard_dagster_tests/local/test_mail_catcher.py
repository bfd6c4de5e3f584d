"""The mail catcher takes every mail, keeps it, and shows it without letting it do anything."""

import smtplib
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
import requests

from guestguard_dagster.local.errors import PortTaken
from guestguard_dagster.local.mail_catcher import MailCatcher, start_mail_catcher
from guestguard_dagster.local.mail_store import MailStore


@pytest.fixture
def catcher(tmp_path: Path) -> Iterator[MailCatcher]:
    catcher = start_mail_catcher(tmp_path / "mail", smtp_port=0, page_port=0)
    yield catcher
    catcher.stop()


def test_a_mail_is_on_the_page_and_in_the_json(catcher: MailCatcher) -> None:
    _send(catcher, _mail(subject="Doors open at six"))

    assert "Doors open at six" in _get(catcher, "/").text
    answer = _get(catcher, "/api/mails").json()
    assert answer["newest_id"] == 1
    (mail,) = answer["mails"]
    assert mail["to"] == ["ada@example.com"]
    assert mail["sender"] == "Robin via GuestGuard <hello@guestguard.localhost>"
    whole = _get(catcher, "/api/mails/1").json()
    assert whole["text"] == "Plain words\n"
    assert "<b>Bold words</b>" in whole["html"]


@pytest.mark.parametrize(
    ("view", "shown"),
    [
        ("html", 'sandbox="allow-popups'),
        ("text", "Plain words"),
        ("headers", "&lt;delivery-1-1@guestguard.localhost&gt;"),
        ("source", "Content-Type: multipart/alternative"),
    ],
)
def test_a_mail_has_four_views(catcher: MailCatcher, view: str, shown: str) -> None:
    _send(catcher, _mail())
    assert shown in _get(catcher, f"/mail/1?view={view}").text


def test_a_mails_html_runs_no_script_and_fetches_nothing(catcher: MailCatcher) -> None:
    _send(catcher, _mail(html="<html><head></head><body><script>alert(1)</script></body></html>"))
    policy = _get(catcher, "/mail/1/body").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert "allow-scripts" not in policy


def test_hostile_words_are_shown_as_words(catcher: MailCatcher) -> None:
    hostile = "<script>alert(1)</script>"
    _send(catcher, _mail(subject=hostile, text=hostile))
    for path in ("/", "/mail/1?view=text", "/mail/1?view=headers", "/mail/1?view=source"):
        page = _get(catcher, path).text
        assert hostile not in page
        assert "&lt;script&gt;alert(1)" in page


def test_attachments_come_back_as_they_were(catcher: MailCatcher) -> None:
    mail = _mail()
    mail.add_attachment(b"BEGIN:VCALENDAR", maintype="text", subtype="calendar", filename="party.ics")
    _send(catcher, mail)
    assert "party.ics" in _get(catcher, "/mail/1").text
    answer = _get(catcher, "/mail/1/attachment/0")
    assert answer.content == b"BEGIN:VCALENDAR"
    assert answer.headers["Content-Disposition"].startswith("attachment")


def test_the_list_can_be_searched_and_asked_for_news(catcher: MailCatcher) -> None:
    for name in ("ada", "ben", "chiara"):
        _send(catcher, _mail(to=f"{name}@example.com"))
    assert [mail["to"] for mail in _get(catcher, "/api/mails?q=BEN").json()["mails"]] == [["ben@example.com"]]
    assert [mail["id"] for mail in _get(catcher, "/api/mails?after=1").json()["mails"]] == [3, 2]
    assert _get(catcher, "/api/mails?limit=0").json() == {"newest_id": 3, "mails": []}
    assert requests.get(f"{catcher.page_url}/api/mails?after=x", timeout=10).status_code == 400


def test_mails_outlive_the_catcher(tmp_path: Path) -> None:
    first = start_mail_catcher(tmp_path, smtp_port=0, page_port=0)
    _send(first, _mail(subject="Still here"))
    first.stop()
    second = start_mail_catcher(tmp_path, smtp_port=0, page_port=0)
    assert "Still here" in _get(second, "/").text
    _send(second, _mail())
    assert second.store.newest_id == 2
    second.stop()


def test_the_oldest_mails_make_room(tmp_path: Path) -> None:
    store = MailStore(tmp_path, limit=3)
    for number in range(5):
        store.add("from@example.com", ["to@example.com"], f"Subject: {number}\r\n\r\n".encode())
    assert [mail.subject for mail in store.newest_first()] == ["4", "3", "2"]
    assert len(list(tmp_path.glob("*.eml"))) == 3
    assert store.get(1) is None


def test_a_full_disk_is_a_refusal_that_the_sender_may_repeat(catcher: MailCatcher, tmp_path: Path) -> None:
    unfinished = tmp_path / "mail" / "unfinished"
    unfinished.symlink_to("/dev/full")
    with pytest.raises(smtplib.SMTPDataError) as refused:
        _send(catcher, _mail())
    assert refused.value.smtp_code == 452
    unfinished.unlink()
    _send(catcher, _mail())
    assert len(catcher.store) == 1


def test_clear_forgets_all_mails(catcher: MailCatcher) -> None:
    _send(catcher, _mail())
    assert requests.post(f"{catcher.page_url}/clear", timeout=10).status_code == 200
    assert len(catcher.store) == 0
    assert requests.get(f"{catcher.page_url}/mail/1", timeout=10).status_code == 404


def test_another_sites_form_cannot_clear_the_mails(catcher: MailCatcher) -> None:
    _send(catcher, _mail())
    answer = requests.post(f"{catcher.page_url}/clear", headers={"Origin": "https://evil.example"}, timeout=10)
    assert answer.status_code == 403
    assert len(catcher.store) == 1


def test_a_foreign_name_that_points_here_reads_nothing(catcher: MailCatcher) -> None:
    answer = requests.get(f"{catcher.page_url}/api/mails", headers={"Host": "evil.example"}, timeout=10)
    assert answer.status_code == 400


def test_taken_ports_are_named(catcher: MailCatcher, tmp_path: Path) -> None:
    with pytest.raises(PortTaken, match="the mail catcher's SMTP server"):
        start_mail_catcher(tmp_path / "other", smtp_port=catcher.smtp_port, page_port=0)
    with pytest.raises(PortTaken, match="the mail catcher's page"):
        start_mail_catcher(tmp_path / "other", smtp_port=0, page_port=catcher.page_port)


def _mail(
    *,
    to: str = "ada@example.com",
    subject: str = "Hello",
    text: str = "Plain words\n",
    html: str = "<p><b>Bold words</b></p>",
) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "Robin via GuestGuard <hello@guestguard.localhost>"
    mail["To"] = to
    mail["Subject"] = subject
    mail["Message-ID"] = "<delivery-1-1@guestguard.localhost>"
    mail.set_content(text)
    mail.add_alternative(html, subtype="html")
    return mail


def _send(catcher: MailCatcher, mail: EmailMessage) -> None:
    with smtplib.SMTP("127.0.0.1", catcher.smtp_port, timeout=10) as smtp:
        smtp.send_message(mail)


def _get(catcher: MailCatcher, path: str) -> requests.Response:
    answer = requests.get(catcher.page_url + path, timeout=10)
    answer.raise_for_status()
    return answer
