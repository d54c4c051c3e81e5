"""The command line: one file per verb. Each parses its arguments, calls one verb, and prints."""
