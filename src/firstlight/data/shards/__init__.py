"""Sets of images in shards: tar files as WebDataset has them, and Parquet."""
