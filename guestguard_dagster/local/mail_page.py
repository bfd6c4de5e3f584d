"""The mail catcher's web page, and the same as JSON.

A mail's HTML comes from strangers: it is shown in a sandboxed frame where no script runs and nothing is fetched.
"""

import re
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from guestguard_dagster.local.mail_store import MailStore, MailSummary, ReceivedMail

_PAGES = Path(__file__).parent / "pages"
_LISTED = 200
_VIEWS = ("html", "text", "headers", "source")
_PAGE_POLICY = "default-src 'self'; frame-ancestors 'none'"
_MAIL_SANDBOX = "allow-popups allow-popups-to-escape-sandbox"
_MAIL_POLICY = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox {_MAIL_SANDBOX}"


def build_mail_page(store: MailStore) -> Starlette:
    """The page over these mails. It answers to this machine's own names only."""
    page = _Page(store)
    return Starlette(
        routes=[
            Route("/", page.show_list),
            Route("/clear", page.clear, methods=["POST"]),
            Route("/mail/{mail_id:int}", page.show_mail),
            Route("/mail/{mail_id:int}/body", page.html_body),
            Route("/mail/{mail_id:int}/source.eml", page.source),
            Route("/mail/{mail_id:int}/attachment/{number:int}", page.attachment),
            Route("/api/mails", page.api_list),
            Route("/api/mails/{mail_id:int}", page.api_mail),
            Mount("/static", StaticFiles(directory=_PAGES)),
        ],
        # A name that somebody else points at this machine must not read the mails.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1"])],
    )


class _Page:
    def __init__(self, store: MailStore) -> None:
        self._store = store
        self._templates = Environment(
            loader=FileSystemLoader(_PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        self._templates.globals["sandbox"] = _MAIL_SANDBOX

    async def show_list(self, request: Request) -> Response:
        wanted = request.query_params.get("q", "")
        mails = list(islice(self._store.newest_first(containing=wanted), _LISTED))
        return self._render(
            "list.html", mails=mails, total=len(self._store), wanted=wanted, newest_id=self._store.newest_id
        )

    async def show_mail(self, request: Request) -> Response:
        mail = self._mail(request)
        views = [view for view in _VIEWS if getattr(mail, view) is not None]
        view = request.query_params.get("view", views[0])
        if view not in views:
            raise HTTPException(404)
        return self._render("mail.html", mail=mail, view=view, views=views)

    async def html_body(self, request: Request) -> Response:
        html = self._mail(request).html
        if html is None:
            raise HTTPException(404)
        # Links of a framed mail open beside it, not inside the frame.
        with_target = re.sub(r"(<head[^>]*>)", r'\1<base target="_blank">', html, count=1, flags=re.IGNORECASE)
        return HTMLResponse(with_target, headers={"Content-Security-Policy": _MAIL_POLICY})

    async def source(self, request: Request) -> Response:
        return Response(self._mail(request).source, media_type="message/rfc822")

    async def attachment(self, request: Request) -> Response:
        attachments = self._mail(request).attachments
        number = request.path_params["number"]
        if number >= len(attachments):
            raise HTTPException(404)
        return Response(
            attachments[number].content,
            media_type="application/octet-stream",
            headers={"Content-Disposition": f'attachment; filename="attachment-{number + 1}"'},
        )

    async def clear(self, request: Request) -> Response:
        # Browsers say where a form was sent from: another site's form must not clear the mails.
        origin = request.headers.get("origin")
        if origin is not None and origin != str(request.base_url).rstrip("/"):
            raise HTTPException(403)
        self._store.clear()
        return RedirectResponse("/", status_code=303)

    async def api_list(self, request: Request) -> Response:
        """`{"newest_id", "mails": [...]}`, newest first; `?after=` an id, `?q=` a text, `?limit=` how many."""
        try:
            after, limit = (
                int(request.query_params.get(name, default)) for name, default in (("after", 0), ("limit", 200))
            )
        except ValueError:
            raise HTTPException(400, "after and limit are whole numbers") from None
        mails = islice(
            self._store.newest_first(after=after, containing=request.query_params.get("q", "")), max(0, limit)
        )
        return JSONResponse({"newest_id": self._store.newest_id, "mails": [_summary_json(mail) for mail in mails]})

    async def api_mail(self, request: Request) -> Response:
        mail = self._mail(request)
        return JSONResponse(
            {**_summary_json(mail.summary), "headers": mail.headers, "text": mail.text, "html": mail.html}
        )

    def _mail(self, request: Request) -> ReceivedMail:
        mail = self._store.get(request.path_params["mail_id"])
        if mail is None:
            raise HTTPException(404, "this mail is not here any more")
        return mail

    def _render(self, template: str, **values: object) -> Response:
        html = self._templates.get_template(template).render(values)
        return HTMLResponse(html, headers={"Content-Security-Policy": _PAGE_POLICY})


def _summary_json(summary: MailSummary) -> dict[str, Any]:
    return {**asdict(summary), "received_at": summary.received_at.isoformat()}
