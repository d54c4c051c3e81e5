"""The operations behind the command and the library, one file per verb. They combine I/O and
computing."""
