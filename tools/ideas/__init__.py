"""The figures of docs/ideas.md, drawn by ``draw_ideas.py``."""

WIDTH = 4.2
"""Width in inches: slightly wider than a phone's screen, so that text stays readable when scaled
down."""
