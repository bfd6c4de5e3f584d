"""How this service itself is: its runs, alerts, checks, metrics, retention and system mail."""
