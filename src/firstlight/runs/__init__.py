"""The run folder: everything about one trained model. No other package writes inside it."""
