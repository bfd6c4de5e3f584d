"""What GuestGuard's words mean: states and their moves, reminder rules, outcomes. No I/O and no framework.

What asks the clock, the settings, the database or the network does not belong here.
"""
