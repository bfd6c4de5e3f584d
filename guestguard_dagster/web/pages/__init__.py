"""The pages of hosts: HTML from templates, over the same session and API that they use themselves.

What guests open without an account belongs to `web.public`.
"""
