"""Saved updates inspected: how files are read, what a defense says of them, and how that is shown."""
