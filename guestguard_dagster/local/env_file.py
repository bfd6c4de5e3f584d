"""The block of `.env` that `guestguard services` writes, between two marker lines. The rest of the file is kept."""

import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values

_FIRST_LINE = "# --- guestguard services: the local services' addresses, rewritten at each start ---"
_LAST_LINE = "# --- end of guestguard services ---"
_BLOCK = re.compile(rf"\n?{re.escape(_FIRST_LINE)}\n.*?{re.escape(_LAST_LINE)}\n?", re.DOTALL)
_PLAIN_VALUE = re.compile(r"[\w:/@.+,?=&%-]*", re.ASCII)


def write_block(path: Path, entries: Mapping[str, str]) -> None:
    """Replace the block by these entries; without entries, remove it. A new file is its owner's alone."""
    path = path.resolve()
    before = path.read_text() if path.exists() else ""
    kept = _BLOCK.sub("", before)
    lines = [_FIRST_LINE, *(f"{name}={_quoted(value)}" for name, value in entries.items()), _LAST_LINE]
    # The line break before the block belongs to it, so that removing it restores the file to the letter.
    block = ("\n" if kept else "") + "\n".join(lines) + "\n" if entries else ""
    after = kept + block
    if after == before:
        return
    unfinished = path.with_name(".env.unfinished")
    unfinished.touch(mode=0o600)
    if path.exists():
        unfinished.chmod(path.stat().st_mode)
    unfinished.write_text(after)
    unfinished.rename(path)


def read_block(path: Path) -> dict[str, str]:
    """The entries of the block; empty when there is none."""
    block = _BLOCK.search(path.read_text()) if path.exists() else None
    found = dotenv_values(stream=StringIO(block.group())) if block else {}
    return {name: value for name, value in found.items() if value is not None}


def _quoted(value: str) -> str:
    return value if _PLAIN_VALUE.fullmatch(value) else "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
