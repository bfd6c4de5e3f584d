"""What providers tell about a mail or text after it left: deliveries move, addresses are suppressed.

How a provider's callback is received and checked belongs to `web.webhooks`, and how it is read to `senders`.
"""
