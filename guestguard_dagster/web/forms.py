"""Forms as browsers and mail programs post them: URL-encoded, in short fields."""

from urllib.parse import parse_qsl

from fastapi import Request

_MOST_FIELDS = 200


async def form_fields(request: Request) -> dict[str, str]:
    """The fields of a URL-encoded body, the last of each name; nothing for any other kind of body."""
    if not request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
        return {}
    text = (await request.body()).decode("utf-8", "replace")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        return {}
