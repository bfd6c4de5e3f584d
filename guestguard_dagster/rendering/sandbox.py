"""The Jinja environments that render what hosts wrote: sandboxed, the five placeholders in scope and nothing else."""

from collections.abc import Callable, Iterable

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from guestguard_dagster.domain.placeholders import Placeholder

Render = Callable[[dict[str, str]], str]


def _bare_environment(*, autoescape: bool) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        autoescape=autoescape, undefined=StrictUndefined, keep_trailing_newline=True, cache_size=0
    )
    environment.globals.clear()
    environment.filters.clear()
    environment.tests.clear()
    return environment


_PLAIN = _bare_environment(autoescape=False)
_HTML = _bare_environment(autoescape=True)


def compile_plain(pieces: Iterable[str | Placeholder]) -> Render:
    """Values are written as they are: for subjects, text parts and SMS."""
    return _PLAIN.from_string(_source(pieces)).render


def compile_html(pieces: Iterable[str | Placeholder]) -> Render:
    """Literal pieces are HTML already; values are escaped."""
    return _HTML.from_string(_source(pieces)).render


def _source(pieces: Iterable[str | Placeholder]) -> str:
    return "".join(piece.written if isinstance(piece, Placeholder) else piece for piece in pieces)
