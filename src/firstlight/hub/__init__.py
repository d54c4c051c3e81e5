"""The Hugging Face hub: its names (``hf:OWNER/NAME``), commits and cache.

Only ``library.py`` opens connections. ``data/hub`` reads data sets from the hub, and
``runs/from_hub.py`` opens runs.
"""
