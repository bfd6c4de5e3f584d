"""Queues mails with django-post-office, then sends them all. Runs in the yardstick's virtual environment.

Reads one JSON object from standard input: `count`, `processes`, and a `mail` whose texts have %(number)s where guests
differ. Writes one: the seconds of `queueing` and of `sending`, and how many were `sent`.
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
    from post_office.models import STATUS, Email

    order = json.load(sys.stdin)
    call_command("migrate", verbosity=0)
    started = time.perf_counter()
    for start in range(0, order["count"], _QUEUED_AT_ONCE):
        numbers = range(start, min(start + _QUEUED_AT_ONCE, order["count"]))
        mail.send_many([_for_guest(order["mail"], number) for number in numbers])
    queued = time.perf_counter()
    mail.send_queued_mail_until_done(processes=order["processes"])
    ended = time.perf_counter()
    sent = Email.objects.filter(status=STATUS.sent).count()
    json.dump({"queueing": queued - started, "sending": ended - queued, "sent": sent}, sys.stdout)


def _for_guest(mail, number):
    def fill(text):
        return text.replace("%(number)s", str(number))

    return {
        "sender": mail["sender"],
        "recipients": [fill(mail["recipient"])],
        "subject": fill(mail["subject"]),
        "message": fill(mail["text"]),
        "html_message": fill(mail["html"]),
        "headers": {name: fill(value) for name, value in mail["headers"].items()},
    }


if __name__ == "__main__":
    main()
