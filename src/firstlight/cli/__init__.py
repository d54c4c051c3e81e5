"""The command: one file a verb. Each parses, calls one verb, and prints."""
