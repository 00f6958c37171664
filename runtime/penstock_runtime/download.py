"""Fetch the model version into the model folder, completely or not at all.

Files arrive in a folder beside their place and are moved when all are there, the MLmodel file last: a folder with an
MLmodel file is a complete model. A restarted pod finds its model and downloads nothing.
"""

import errno
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import mlflow
import requests
from mlflow import artifacts, exceptions

from penstock_runtime import errors
from penstock_runtime.settings import Identity, Settings

_INCOMING: Final = ".penstock-incoming"
_RECORD: Final = ".penstock-model.json"
_COMPLETE: Final = "MLmodel"
_PAUSES: Final = (0.5, 1.0, 2.0)  # seconds before the second, third and fourth attempt

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
    client = mlflow.MlflowClient(tracking_uri=settings.tracking_uri)
    version = _attempt(
        settings, "", lambda: client.get_model_version(settings.identity.model, settings.identity.model_version)
    )
    if version.status not in {"READY", ""}:
        raise errors.Failure(
            f"{settings.identity.title} is {version.status} in the registry, not READY; register it again: "
            f"{version.status_message or 'the registry gives no reason'}"
        )
    incoming = settings.model_directory / _INCOMING
    try:
        _clear(settings.model_directory)
        incoming.mkdir(parents=True)
        _attempt(settings, "the artifacts of ", lambda: _download(settings, incoming))
        (incoming / _RECORD).write_text(json.dumps(record), encoding="utf-8")
        _publish(incoming, settings.model_directory)
    except OSError as error:
        raise _disk(settings, error) from error
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _download(settings: Settings, incoming: Path) -> None:
    uri = f"models:/{settings.identity.model}/{settings.identity.model_version}"
    downloaded = Path(
        artifacts.download_artifacts(artifact_uri=uri, dst_path=str(incoming), tracking_uri=settings.tracking_uri)
    )
    if not (downloaded / _COMPLETE).is_file():
        raise errors.Failure(
            f"the artifacts of {settings.identity.title} are missing: {_COMPLETE} is not among the files that the "
            "artifact store has; log and register the model again"
        )
    if downloaded.resolve() != incoming.resolve():
        for entry in list(downloaded.iterdir()):
            entry.rename(incoming / entry.name)


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


def _attempt(settings: Settings, what: str, action: Callable[[], Any]) -> Any:
    """Try again what may pass by itself; Failure says what will not."""
    for pause in (*_PAUSES, None):
        try:
            return action()
        except errors.Failure:
            raise
        except Exception as error:
            failure, again = _explain(settings, what, error)
            if pause is None or not again:
                raise failure from error
            print(errors.redact(f"{failure}; trying again in {pause:g} s", settings.secrets), file=sys.stderr)
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _explain(settings: Settings, what: str, error: Exception) -> tuple[errors.Failure, bool]:
    """What an error of the registry or the artifact store means, and whether to try again here and now."""
    subject, registry = what + settings.identity.title, settings.tracking_uri
    said = errors.one_line(error)
    code = error.error_code if isinstance(error, exceptions.MlflowException) else ""
    chain = list(_chain(error))
    passing = False
    if any(isinstance(link, OSError) and link.errno in _DISK for link in chain) or "[Errno 28]" in said:
        return _disk(settings, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))), False
    if code in {"UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"} or " 401 " in said:
        sentence = (
            f"the registry {registry} refuses the credentials for {subject} (401); correct MLFLOW_TRACKING_USERNAME "
            "and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, in the registry Secret"
        )
    elif code == "PERMISSION_DENIED" or " 403 " in said:
        sentence = (
            f"the registry {registry} does not allow these credentials to read {subject} (403); "
            "give the user read permission, or name another one in the registry Secret"
        )
    elif what and (code in _MISSING or " 404 " in said or any(isinstance(link, FileNotFoundError) for link in chain)):
        sentence = f"{subject} are missing in the artifact store: {said}; log and register the model again"
    elif code in _MISSING or " 404 " in said:
        sentence = f"{subject} is not in the registry {registry}: {said}; register it, or name a version that exists"
    elif code in {"INVALID_PARAMETER_VALUE", "BAD_REQUEST"}:
        sentence = f"the registry {registry} can not look up {subject}: {said}; correct the name and the version"
    elif any(isinstance(link, (requests.ConnectionError, requests.Timeout)) for link in chain):
        passing = True
        sentence = (
            f"the registry {registry} can not be reached: {said}; "
            "check the address, that it runs, and that the pod's network policy lets requests out"
        )
    else:
        passing = True
        sentence = f"{subject} can not be downloaded from {registry}: {said}; look at the registry's log"
    return errors.Failure(sentence, passing=passing), passing


_MISSING: Final = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "ENDPOINT_NOT_FOUND"})
_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def _disk(settings: Settings, error: OSError) -> errors.Failure:
    if error.errno in _DISK:
        return errors.Failure(
            f"{settings.identity.title} does not fit into {settings.model_directory}: no space left; "
            "raise the size limit of the model volume, or free the node's disk",
            passing=True,
        )
    return errors.Failure(
        f"{settings.model_directory} can not be written: {error.strerror or error}; mount a volume there that the "
        "container's user may write to"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
