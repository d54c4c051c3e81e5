"""Sets of images in shards: WebDataset's tar files, and Parquet."""
