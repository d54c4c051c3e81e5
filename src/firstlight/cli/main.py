"""Entry point of the ``firstlight`` command. It imports almost nothing before it can be
interrupted."""

import sys


def main() -> None:
    """Run the command. Exit codes: 0 success, 1 our bug or a closed pipe, 2 a wrong request, 3
    missing or bad data, 4 a threshold not met, 130 interrupted."""
    try:
        from firstlight.cli.app import run

        run()
    except KeyboardInterrupt:  # during the imports
        sys.stderr.write("firstlight: interrupted; nothing was saved\n")
        sys.exit(130)
