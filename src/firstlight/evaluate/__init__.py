"""From images to probabilities, and from probabilities to numbers a person can defend."""
