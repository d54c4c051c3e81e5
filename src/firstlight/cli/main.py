"""The ``firstlight`` command's way in: it imports next to nothing before it can be interrupted."""

import sys


def main() -> None:
    """Run the command. Exit codes: 0 done, 1 a fault of ours or a reader that went away, 2 a wrong
    request, 3 missing or bad data, 4 a threshold not met, 130 interrupted."""
    try:
        from firstlight.cli.app import run

        run()
    except KeyboardInterrupt:  # while all that was imported
        sys.stderr.write("firstlight: interrupted; nothing was saved\n")
        sys.exit(130)
