"""Fetch the model version into the model folder, completely or not at all.

Files arrive in a folder beside their place and are moved when all are there, the MLmodel file last: a folder with an
MLmodel file is a complete model. A restarted pod finds its model and downloads nothing.
"""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from penstock_runtime import errors
from penstock_runtime.settings import Identity, Settings

_INCOMING: Final = ".penstock-incoming"
_RECORD: Final = ".penstock-model.json"
_COMPLETE: Final = "MLmodel"

# Our own attempts wrap every step, so MLflow's are few; its defaults spend four minutes on a refused connection.
_PATIENCE: Final = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def run(settings: Settings) -> None:
    """Download unless the model is there already; raises Failure with what is wrong and what to do."""
    identity = settings.identity
    if not settings.tracking_uri:
        raise errors.Failure("MLFLOW_TRACKING_URI is not set; set it to the address of the MLflow registry")
    if not identity.model or not identity.model_version:
        raise errors.Failure("PENSTOCK_MODEL_NAME and PENSTOCK_MODEL_VERSION are not set; set both")
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    record = {"name": identity.model, "version": identity.model_version}
    if _present(settings.model_directory, record):
        print(f"{identity.title} is in {settings.model_directory} already")
        return
    started = time.monotonic()
    _within(settings.download_timeout, lambda: _fetch(settings, record), identity)
    print(f"{identity.title} downloaded to {settings.model_directory} in {time.monotonic() - started:.1f} s")


def _present(directory: Path, record: dict[str, str]) -> bool:
    try:
        saved = json.loads((directory / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(saved == record) and (directory / _COMPLETE).is_file()


def _within(seconds: float, work: Callable[[], None], identity: Identity) -> None:
    """Run `work` in a daemon thread, because no client library's time-outs cover a server that trickles."""
    outcome: list[BaseException] = []

    def target() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # carried over to the main thread
            outcome.append(error)

    thread = threading.Thread(target=target, name="download", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise errors.Failure(
            f"{identity.title} was not downloaded within {seconds:g} s; look whether the artifact store is slow, "
            "or raise PENSTOCK_DOWNLOAD_TIMEOUT_SECONDS",
            passing=True,
        )
    if outcome:
        raise outcome[0]


def _fetch(settings: Settings, record: dict[str, str]) -> None:
    from penstock_runtime import registry  # MLflow takes seconds to import

    registry.look_up(settings)
    incoming = settings.model_directory / _INCOMING
    try:
        _clear(settings.model_directory)
        incoming.mkdir(parents=True)
        registry.fetch(settings, incoming)
        (incoming / _RECORD).write_text(json.dumps(record), encoding="utf-8")
        _publish(incoming, settings.model_directory)
    except OSError as error:
        raise registry.disk(settings, error) from error
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _clear(directory: Path) -> None:
    """Empty the folder, the MLmodel file first: what is half removed must not look complete."""
    (directory / _COMPLETE).unlink(missing_ok=True)
    for entry in directory.iterdir() if directory.is_dir() else ():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _publish(incoming: Path, directory: Path) -> None:
    entries = sorted(incoming.iterdir(), key=lambda entry: entry.name == _COMPLETE)
    for entry in entries:
        entry.rename(directory / entry.name)
