"""Forms as browsers and mail programs post them: URL-encoded, a handful of short fields."""

from urllib.parse import parse_qsl

from fastapi import Request

_MOST_FIELDS = 20


async def form_fields(request: Request) -> dict[str, str]:
    """The fields of a URL-encoded body, the last of each name; nothing for any other kind of body."""
    if not request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
        return {}
    try:
        return dict(parse_qsl((await request.body()).decode("utf-8", "replace"), max_num_fields=_MOST_FIELDS))
    except ValueError:
        return {}
