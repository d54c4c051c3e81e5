"""Data sets of the Hugging Face hub: ``hf:OWNER/NAME``, pinned to a commit."""
