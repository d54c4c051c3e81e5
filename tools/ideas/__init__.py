"""The pictures of docs/ideas.md, drawn by ``draw_ideas.py``."""

WIDTH = 4.2
"""Inches: a little wider than a phone shows, so that letters stay readable when scaled down."""
