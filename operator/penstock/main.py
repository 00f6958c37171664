"""The operator's process: settings, logging, signals; the rest is wired in `penstock.wiring`."""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence

import penstock
from penstock import errors, settings

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message and whatever was given as extra."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock-operator`."""
    parser = argparse.ArgumentParser(prog="penstock-operator", description=penstock.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run",
        help="run the operator",
        description="Runs the operator until it gets SIGTERM. Settings come from the environment.",
        epilog="\n".join(
            f"{settings.PREFIX}{name.upper():20} {field.description}"
            for name, field in settings.Settings.model_fields.items()
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.set_defaults(command="run")
    parser.parse_args(arguments)
    try:
        config = settings.Settings.from_environment(os.environ)
    except errors.Misconfigured as error:
        print(f"penstock-operator: {error.message}", file=sys.stderr)  # noqa: T201 - logging is not set up yet
        return 2
    _set_up_logging(config)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("LOGNAME", "penstock")  # kopf asks for the user's name; a container's user has none
    return asyncio.run(_run(config))


def _set_up_logging(config: settings.Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if config.log_format == "json" else text)
    logging.basicConfig(level=config.log_level.upper(), handlers=[handler], force=True)
    for noisy in ("kopf", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its retries are told by what they end in


async def _run(config: settings.Settings) -> int:
    # the process wires everything late, so that --help needs none of the libraries
    from penstock import wiring

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    failed = False
    try:
        await wiring.run(config, stop)
    except* errors.PenstockError as group:
        failed = True
        for error in group.exceptions:
            logging.getLogger(__name__).error("stopped: %s", error)  # noqa: TRY400 - the message says it all
    return 1 if failed else 0
