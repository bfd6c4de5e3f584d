"""Run queues: the tag that dagster.yaml's concurrency limits go by, so that waiting send runs delay nobody else."""

QUEUE_TAG = "guestguard/queue"
PRIORITY_TAG = "dagster/priority"

SEND_QUEUE = {QUEUE_TAG: "send"}
# Without a limit of its own: what the other queues leave free is for these.
EVENT_QUEUE = {QUEUE_TAG: "events", PRIORITY_TAG: "10"}
MAINTENANCE_QUEUE = {QUEUE_TAG: "maintenance"}

# As many runs as dagster.yaml lets into the send queue at once.
SEND_SLOTS = 8
