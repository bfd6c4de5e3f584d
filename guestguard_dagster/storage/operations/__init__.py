"""How this service itself is: its runs, alerts, checks, metrics, retention and system mail.

Reports on deliveries, and the counts that they are made of, belong to `statistics`.
"""
