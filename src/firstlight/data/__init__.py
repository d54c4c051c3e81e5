"""Named data sets and picture files, as plain uint8 arrays."""
