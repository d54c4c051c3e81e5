"""Explanations of a network's answers: arrays in, arrays and words out. No disk, no drawing."""
