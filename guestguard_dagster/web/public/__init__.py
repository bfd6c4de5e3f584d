"""What guests open from a mail, without an account: the RSVP page and the unsubscribe page.

What needs a session belongs to `web.pages`.
"""
