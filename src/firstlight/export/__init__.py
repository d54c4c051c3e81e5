"""Export a trained run to a file that other programs can run."""
