"""The workshop behind ``firstlight studio``: train, collect and compare in the page."""
