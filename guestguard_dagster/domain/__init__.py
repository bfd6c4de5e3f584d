"""What GuestGuard's words mean: states and their moves, reminder rules, outcomes. No I/O and no framework."""
