"""The run folder: everything about one trained model. Nothing else writes inside it."""
