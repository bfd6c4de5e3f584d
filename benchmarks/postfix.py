"""postfix's measuring tools: smtp-sink takes mail and forgets it, smtp-source sends as fast as SMTP goes.

They come from Debian's package, unpacked into the bench's cache: nothing is installed, and no service is started.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import BenchImpossible
from guestguard_dagster.local.ports import LOOPBACK, free_port

_LIBRARIES = ("usr/lib/postfix", "usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu")


@dataclass(frozen=True, slots=True)
class Postfix:
    """The unpacked package."""

    root: Path

    @contextmanager
    def sink(self) -> Iterator[int]:
        """A server that takes every mail; its port."""
        port = free_port()
        # It refuses to serve as root.
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        command = [str(self.root / "usr/sbin/smtp-sink"), *user, f"{LOOPBACK}:{port}", "1000"]
        process = subprocess.Popen(command, env=self._environ, stderr=subprocess.DEVNULL)
        try:
            _wait_until_it_listens(process, port)
            yield port
        finally:
            process.terminate()
            process.wait()

    def source(self, port: int, *, mails: int, octets: int, sessions: int) -> float:
        """Seconds that smtp-source takes for so many mails of so many octets."""
        size = ["-s", str(sessions), "-m", str(mails), "-l", str(octets)]
        command = [str(self.root / "usr/sbin/smtp-source"), "-d", *size, f"{LOOPBACK}:{port}"]
        started = time.perf_counter()
        subprocess.run(command, env=self._environ, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started

    @property
    def _environ(self) -> dict[str, str]:
        return os.environ | {"LD_LIBRARY_PATH": ":".join(str(self.root / folder) for folder in _LIBRARIES)}

    def missing_libraries(self) -> str:
        listed = subprocess.run(
            ["ldd", str(self.root / "usr/sbin/smtp-sink")],
            env=self._environ,
            capture_output=True,
            text=True,
            check=True,
        )
        return "\n".join(line.strip() for line in listed.stdout.splitlines() if "not found" in line)


def unpack_postfix(cache: Path) -> Postfix:
    """Fetch and unpack the package, and the libraries that this machine lacks for it, unless it is there already."""
    postfix = Postfix(cache / "postfix")
    if postfix.root.exists():
        return postfix
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise BenchImpossible("smtp-sink comes from Debian's package `postfix`; run the bench on Debian or Ubuntu")
    unfinished = Postfix(cache / "postfix.unfinished")
    shutil.rmtree(unfinished.root, ignore_errors=True)
    unfinished.root.mkdir(parents=True)
    _unpack(unfinished, ["postfix"])
    if unfinished.missing_libraries():
        _unpack(unfinished, _libraries_of("postfix"))
    if missing := unfinished.missing_libraries():
        raise BenchImpossible(f"smtp-sink cannot run here, libraries are missing:\n{missing}")
    unfinished.root.rename(postfix.root)
    return postfix


def _unpack(into: Postfix, packages: list[str]) -> None:
    downloaded = subprocess.run(
        ["apt-get", "download", "-o", "APT::Sandbox::User=root", *packages],
        cwd=into.root,
        capture_output=True,
        text=True,
    )
    if downloaded.returncode != 0:
        raise BenchImpossible(f"apt-get cannot download {' '.join(packages)}: {downloaded.stderr.strip()}")
    for package in into.root.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(into.root)], check=True)
        package.unlink()


def _libraries_of(package: str) -> list[str]:
    shown = subprocess.run(["apt-cache", "depends", package], capture_output=True, text=True, check=True).stdout
    names = (line.partition("Depends: ")[2].strip() for line in shown.splitlines())
    return [name for name in names if name.startswith("lib") and name != "libc6"]


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) == 0:
                return
        time.sleep(0.02)
    raise BenchImpossible("smtp-sink does not listen; run it by hand to see why")
