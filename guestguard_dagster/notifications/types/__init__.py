"""One module per type of notification, with everything that is its own; `notifications.registry` lists them."""
