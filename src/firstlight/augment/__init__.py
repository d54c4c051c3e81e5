"""Batched, seeded changes of training images: (images, generator) -> images."""
