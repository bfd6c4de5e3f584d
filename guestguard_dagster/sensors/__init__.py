"""Dagster sensors, which look at regular intervals whether a run is needed, and ask for it. `SENSORS` has all of them.

A tick only looks and asks: nothing is sent here and no provider is called. What a run does belongs to `jobs`.
"""

from guestguard_dagster.sensors import (
    alerts,
    automation,
    delivery_changes,
    due_messages,
    nats_events,
    provider_callbacks,
    run_watch,
    system_mail,
)

SENSORS = (
    due_messages.due_messages,
    nats_events.nats_events,
    provider_callbacks.provider_callbacks,
    run_watch.run_watch,
    run_watch.hold_terminated,
    system_mail.system_mail,
    alerts.alerts,
    delivery_changes.delivery_changes,
    automation.automation,
)
