"""The registry and its artifact store, asked through MLflow: patience, and what their errors mean.

MLflow's errors are many and of one class; here each becomes a sentence that says what is wrong and what to do.
"""

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import mlflow
import requests
from mlflow import artifacts, exceptions

from penstock_runtime import errors
from penstock_runtime.settings import Settings

_PAUSES: Final = (0.5, 1.0, 2.0)  # seconds before the second, third and fourth attempt
_MISSING: Final = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "ENDPOINT_NOT_FOUND"})
_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def look_up(settings: Settings) -> None:
    """Make sure that the registry has the version, ready to be used; raises Failure."""
    client = mlflow.MlflowClient(tracking_uri=settings.tracking_uri)
    version = _attempt(
        settings, "", lambda: client.get_model_version(settings.identity.model, settings.identity.model_version)
    )
    if version.status not in {"READY", ""}:
        raise errors.Failure(
            f"{settings.identity.title} is {version.status} in the registry, not READY; register it again: "
            f"{version.status_message or 'the registry gives no reason'}"
        )


def fetch(settings: Settings, target: Path) -> None:
    """Download the model's files into the folder `target`; raises Failure."""
    _attempt(settings, "the artifacts of ", lambda: _fetch(settings, target))


def _fetch(settings: Settings, target: Path) -> None:
    uri = f"models:/{settings.identity.model}/{settings.identity.model_version}"
    downloaded = Path(
        artifacts.download_artifacts(artifact_uri=uri, dst_path=str(target), tracking_uri=settings.tracking_uri)
    )
    if not (downloaded / "MLmodel").is_file():
        raise errors.Failure(
            f"the artifacts of {settings.identity.title} are missing: MLmodel is not among the files that the "
            "artifact store has; log and register the model again"
        )
    if downloaded.resolve() != target.resolve():
        for entry in list(downloaded.iterdir()):
            entry.rename(target / entry.name)


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
            sys.stderr.write(errors.redact(f"{failure}; trying again in {pause:g} s\n", settings.secrets))
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
        return disk(settings, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))), False
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


def disk(settings: Settings, error: OSError) -> errors.Failure:
    """What is wrong with the model folder."""
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
