"""What happened on the web, published on NATS once it is committed."""
