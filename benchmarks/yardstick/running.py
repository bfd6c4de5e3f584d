"""Installs the yardstick, and runs it with given settings."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from benchmarks.figures import BenchImpossible
from benchmarks.mails import SampleMail
from benchmarks.stage import Stage

_HERE = Path(__file__).parent

WAYS_TO_RENDER = ("on delivery", "nothing")


@dataclass(frozen=True, slots=True)
class YardstickSettings:
    """`renders` says what its queue holds: templates filled in "on delivery", or finished texts ("nothing")."""

    processes: int
    threads: int
    renders: str

    def __str__(self) -> str:
        texts = "templates filled in on delivery" if self.renders == "on delivery" else "finished texts in its queue"
        return f"{self.processes} processes of {self.threads} threads, {texts}"


@dataclass(frozen=True, slots=True)
class YardstickSent:
    """Seconds of writing the mails into its queue, and of sending what was queued."""

    mails: int
    queueing: float
    sending: float

    def __add__(self, other: "YardstickSent") -> "YardstickSent":
        return YardstickSent(self.mails + other.mails, self.queueing + other.queueing, self.sending + other.sending)

    @property
    def seconds(self) -> float:
        return self.queueing + self.sending

    @property
    def rate(self) -> float:
        """Mails per second, queueing included: our own time includes writing the audience down, too."""
        return self.mails / self.seconds


@dataclass(frozen=True, slots=True)
class Yardstick:
    python: Path
    stage: Stage
    smtp_port: int

    def send(self, mail: SampleMail, count: int, settings: YardstickSettings) -> YardstickSent:
        """Queue and send so many mails, in batches as large as there are mails: its fastest."""
        with self.stage.database("yardstick") as (_, url):
            order = {
                "count": count,
                "processes": settings.processes,
                "renders": settings.renders,
                "mail": mail.as_yardstick_order(),
            }
            ended = subprocess.run(
                [str(self.python), str(_HERE / "send_mails.py")],
                input=json.dumps(order),
                env=os.environ | self._environ(url, count, settings),
                capture_output=True,
                text=True,
            )
        if ended.returncode != 0:
            raise BenchImpossible(f"django-post-office failed:\n{ended.stderr[-2000:]}")
        answer = json.loads(ended.stdout)
        if answer["sent"] != count:
            raise BenchImpossible(f"django-post-office sent {answer['sent']} of {count} mails")
        return YardstickSent(count, answer["queueing"], answer["sending"])

    def _environ(self, url: str, count: int, settings: YardstickSettings) -> dict[str, str]:
        database = make_url(url)
        return {
            "PYTHONPATH": str(_HERE),
            "DJANGO_SETTINGS_MODULE": "django_settings",
            "YARDSTICK_DATABASE_HOST": str(database.host),
            "YARDSTICK_DATABASE_PORT": str(database.port),
            "YARDSTICK_DATABASE_NAME": str(database.database),
            "YARDSTICK_DATABASE_USER": str(database.username),
            "YARDSTICK_DATABASE_PASSWORD": str(database.password),
            "YARDSTICK_SMTP_PORT": str(self.smtp_port),
            "YARDSTICK_BATCH_SIZE": str(count),
            "YARDSTICK_THREADS": str(settings.threads),
        }


def install_yardstick(cache: Path) -> Path:
    """The interpreter of a virtual environment with the pinned versions; made when it is not there."""
    requirements = _HERE / "requirements.txt"
    environment, installed = cache / "yardstick", cache / "yardstick" / "installed.txt"
    python = environment / "bin" / "python"
    if installed.exists() and installed.read_text() == requirements.read_text():
        return python
    shutil.rmtree(environment, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "-r", str(requirements)]
    if subprocess.run(command).returncode != 0:
        raise BenchImpossible("django-post-office, the yardstick, cannot be installed; see what pip says above")
    shutil.copy(requirements, installed)
    return python


def versions() -> str:
    """What is installed, in words."""
    return ", ".join((_HERE / "requirements.txt").read_text().split()).replace("==", " ")
