"""The command, treating every set of shards as a large one: python large_shards.py WORDS..."""

from firstlight.cli.main import main
from firstlight.data.shards import load

if __name__ == "__main__":
    load.MOST_LOOKED_THROUGH = 0
    main()
