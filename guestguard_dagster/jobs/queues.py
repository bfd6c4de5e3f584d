"""Run queues: the tag that dagster.yaml's concurrency limits go by, so that waiting send runs delay nobody else."""

QUEUE_TAG = "guestguard/queue"

SEND_QUEUE = {QUEUE_TAG: "send"}
MAINTENANCE_QUEUE = {QUEUE_TAG: "maintenance"}

# As many runs as dagster.yaml lets into the send queue at once.
SEND_SLOTS = 8
