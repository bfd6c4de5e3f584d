"""Queues mails with django-post-office, then sends them all. Runs in the yardstick's virtual environment.

Reads one JSON object from standard input: `count`, `processes`, `renders` ("on delivery" or "nothing") and a `mail`
whose texts have %(number)s where guests differ. Writes one: the seconds of `queueing` and of `sending`, and how many
were `sent`.
"""

import json
import sys
import time

import django
from django.core.management import call_command

_QUEUED_AT_ONCE = 1000


def main():
    django.setup()
    from post_office import mail
    from post_office.models import STATUS, Email, EmailTemplate

    order = json.load(sys.stdin)
    call_command("migrate", verbosity=0)
    for_guest = _renderings(order["mail"], EmailTemplate)[order["renders"]]
    started = time.perf_counter()
    for start in range(0, order["count"], _QUEUED_AT_ONCE):
        numbers = range(start, min(start + _QUEUED_AT_ONCE, order["count"]))
        mail.send_many([for_guest(number) for number in numbers])
    queued = time.perf_counter()
    mail.send_queued_mail_until_done(processes=order["processes"])
    ended = time.perf_counter()
    sent = Email.objects.filter(status=STATUS.sent).count()
    json.dump({"queueing": queued - started, "sending": ended - queued, "sent": sent}, sys.stdout)


def _renderings(mail, template_model):
    """One mail's arguments by a guest's number, for each way of rendering it."""

    def fill(text, number="{{ number }}"):
        return text.replace("%(number)s", str(number))

    template = template_model.objects.create(
        name="news", subject=fill(mail["subject"]), content=fill(mail["text"]), html_content=fill(mail["html"])
    )

    def envelope(number):
        headers = {name: fill(value, number) for name, value in mail["headers"].items()}
        return {"sender": mail["sender"], "recipients": [fill(mail["recipient"], number)], "headers": headers}

    def of_template(number):
        return envelope(number) | {"template": template, "context": {"number": number}, "render_on_delivery": True}

    def finished(number):
        texts = {"subject": mail["subject"], "message": mail["text"], "html_message": mail["html"]}
        return envelope(number) | {name: fill(text, number) for name, text in texts.items()}

    return {
        "on delivery": of_template,
        "nothing": finished,
    }


if __name__ == "__main__":
    main()
