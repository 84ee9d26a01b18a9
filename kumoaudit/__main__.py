"""Entry point of the console script and of `python -m kumoaudit`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and end the process with its exit code."""
    from kumoaudit.cli import main as cli

    sys.exit(cli())


if __name__ == "__main__":
    main()
