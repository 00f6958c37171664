"""Entry point of `penstock`: the commands, and what goes wrong with them in one sentence."""

import argparse
import sys
from collections.abc import Sequence

from penstock.cli import given, simulate


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. 0: done. 2: what was given cannot be used; why is on stderr."""
    parser = argparse.ArgumentParser(prog="penstock", description="Tools around ModelDeployments.")
    commands = parser.add_subparsers(dest="command", required=True)
    simulate.add_to(commands)
    parsed = parser.parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except given.BadInputError as error:
        print(f"penstock: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
