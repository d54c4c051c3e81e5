"""firstlight: from the first MNIST digit to a small image classifier of your own."""

__version__ = "0.1.0"
