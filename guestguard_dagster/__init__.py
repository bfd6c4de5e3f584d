"""GuestGuard's messaging backend: scheduled broadcasts, reminders and event mail, run by Dagster."""
