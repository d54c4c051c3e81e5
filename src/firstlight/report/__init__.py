"""Numbers in, pictures and self-contained HTML pages out. No disk, no data set, no model."""
