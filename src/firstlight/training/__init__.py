"""The training loop: mathematics only, neither disk nor screen."""
