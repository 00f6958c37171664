"""The command `penstock-serve`: `download` fetches the model, `serve` answers predictions.

Each ends with exit code 0, or writes one sentence to the termination log and ends with another code.
"""

import argparse
import os
import sys
import threading
from collections.abc import Sequence
from importlib import metadata

from penstock_runtime import errors, settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the process's exit code."""
    parser = argparse.ArgumentParser(prog="penstock-serve", description="Serve an MLflow model over HTTP.")
    parser.add_argument("--version", action="version", version=metadata.version("penstock"))
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("download", help="download the model into PENSTOCK_MODEL_DIR, completely or not at all")
    commands.add_parser("serve", help="load the model of PENSTOCK_MODEL_DIR and answer predictions")
    command = parser.parse_args(arguments).command
    log, secrets = settings.termination(os.environ)
    try:
        chosen = settings.read(os.environ)
        if command == "download":
            from penstock_runtime import download

            download.run(chosen)
            return 0
        from penstock_runtime import server

        return server.run(chosen)
    except errors.Failure as failure:
        errors.report(str(failure), log, secrets)
        _leave_threads_behind(failure.code)
        return failure.code


def _leave_threads_behind(code: int) -> None:
    """A download or a model that is stuck in another thread must not keep the process from ending."""
    if any(thread is not threading.main_thread() for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
