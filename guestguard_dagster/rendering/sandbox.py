"""The Jinja environments that render what hosts wrote: sandboxed, the placeholders in scope and nothing else.

Jinja renders a message once. Where guests differ the result is cut, so that each guest costs no more than a join.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import escape

from guestguard_dagster.domain.placeholders import Placeholder
from guestguard_dagster.rendering.filled import Filled

_OF_GUESTS: Final = (Placeholder.GUEST_NAME.value, Placeholder.RSVP_LINK.value)
# What stands in for a guest's values while Jinja renders; no cleaned text or value can contain it.
_STAND_INS: Final = {name: f"\x00{name}\x00" for name in _OF_GUESTS}
_CUTS: Final = re.compile(f"\x00({'|'.join(_OF_GUESTS)})\x00")


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


@dataclass(frozen=True, slots=True)
class GuestText:
    """A rendered text that is open where guests differ. Build it with `compile_plain` or `compile_html`."""

    # one more than names: the value of each name stands between two of them
    literals: tuple[str, ...]
    names: tuple[str, ...]
    written: Callable[[str], str]

    def fill(self, guest_values: Mapping[str, str]) -> Filled:
        """The text for one guest."""
        return Filled.of(self.literals, tuple([self.written(guest_values[name]) for name in self.names]))


def compile_plain(pieces: Iterable[str | Placeholder], event_values: Mapping[str, str]) -> GuestText:
    """Values are written as they are: for subjects, text parts and SMS."""
    return _cut(_PLAIN, pieces, event_values, str)


def compile_html(pieces: Iterable[str | Placeholder], event_values: Mapping[str, str]) -> GuestText:
    """Literal pieces are HTML already; values are escaped."""
    return _cut(_HTML, pieces, event_values, escape)


def _cut(
    environment: ImmutableSandboxedEnvironment,
    pieces: Iterable[str | Placeholder],
    event_values: Mapping[str, str],
    written: Callable[[str], str],
) -> GuestText:
    source = "".join(piece.written if isinstance(piece, Placeholder) else piece for piece in pieces)
    parts = _CUTS.split(environment.from_string(source).render({**event_values, **_STAND_INS}))
    return GuestText(tuple(parts[::2]), tuple(parts[1::2]), written)
