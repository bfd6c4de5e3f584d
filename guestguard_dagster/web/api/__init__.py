"""The JSON API, one module per noun. Endpoints translate between HTTP and the repositories; they decide no rules.

HTML belongs to `web.pages` and `web.public`, and what providers post to `web.webhooks`.
"""
