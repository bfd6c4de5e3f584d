"""The HTTP side: the API, the pages that hosts and guests see, and the webhooks of providers. It never imports dagster.

`app.create_app` puts it together. What a request does to rows is in storage; what leaves is in delivery.
"""
