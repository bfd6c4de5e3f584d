"""Events of the stream become notifications, and notifications become mail: intake, composing, sending."""
