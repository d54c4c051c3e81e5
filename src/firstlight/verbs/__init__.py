"""What the command and the library can do: here effects meet mathematics, one file a verb."""
