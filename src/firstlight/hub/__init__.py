"""The Hugging Face hub: its words (``hf:OWNER/NAME``), its commits and its cache.

``library.py`` is the one way to it, and opens every connection. ``data/hub`` reads data sets from
it, ``runs/from_hub.py`` opens runs.
"""
