"""A message as one guest would get it, before it leaves: previews and test sends."""
