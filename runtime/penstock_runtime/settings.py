"""What the pod's environment says, read once and never again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock_runtime.errors import Failure

_SECRETS = (
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCESS_KEY",
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose pod this is: the labels of every metric and the answer of /version."""

    namespace: str = ""
    deployment: str = ""
    revision: str = ""
    model: str = ""
    model_version: str = ""

    @property
    def title(self) -> str:
        """How sentences name the model: `model fraud version 3`."""
        if not self.model:
            return "the model"
        return f"model {self.model} version {self.model_version}" if self.model_version else f"model {self.model}"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server refuses, and how long it waits. Durations are in seconds."""

    body_bytes: int = 16 * 1024 * 1024
    held_bytes: int = 128 * 1024 * 1024
    queue_length: int = 1024
    batch_size: int = 64
    batch_delay: float = 0.0
    request_timeout: float = 60.0
    hang: float = 120.0
    drain: float = 5.0
    threads: int = 1
    answers_kept: int = 4096
    answers_percent: float = 100.0


@dataclass(frozen=True, slots=True)
class Settings:
    identity: Identity
    limits: Limits
    model_directory: Path
    host: str
    port: int
    answers_port: int
    tracking_uri: str
    download_timeout: float
    secrets: tuple[str, ...]


def read(environment: Mapping[str, str]) -> Settings:
    """Read the settings; raises Failure that names the variable and what it must be."""
    text, default = environment.get, Limits()
    return Settings(
        identity=Identity(
            namespace=text("PENSTOCK_NAMESPACE", ""),
            deployment=text("PENSTOCK_DEPLOYMENT", ""),
            revision=text("PENSTOCK_REVISION", ""),
            model=text("PENSTOCK_MODEL_NAME", ""),
            model_version=text("PENSTOCK_MODEL_VERSION", ""),
        ),
        limits=Limits(
            body_bytes=_whole(environment, "PENSTOCK_MAX_BODY_BYTES", default.body_bytes, least=1),
            held_bytes=_whole(environment, "PENSTOCK_QUEUE_MAX_BYTES", default.held_bytes, least=1),
            queue_length=_whole(environment, "PENSTOCK_QUEUE_MAX_LENGTH", default.queue_length, least=1),
            batch_size=_whole(environment, "PENSTOCK_BATCH_MAX_SIZE", default.batch_size, least=1),
            batch_delay=_number(environment, "PENSTOCK_BATCH_MAX_DELAY_MILLISECONDS", default.batch_delay) / 1000,
            request_timeout=_number(environment, "PENSTOCK_REQUEST_TIMEOUT_SECONDS", default.request_timeout),
            hang=_number(environment, "PENSTOCK_HANG_SECONDS", default.hang),
            drain=_number(environment, "PENSTOCK_DRAIN_SECONDS", default.drain),
            threads=_whole(environment, "PENSTOCK_PREDICT_THREADS", default.threads, least=1),
            answers_kept=_whole(environment, "PENSTOCK_ANSWERS_KEPT", default.answers_kept, least=1),
            answers_percent=_percent(environment, "PENSTOCK_ANSWERS_PERCENT", default.answers_percent),
        ),
        model_directory=Path(text("PENSTOCK_MODEL_DIR", "/model")),
        host=text("PENSTOCK_HOST", "0.0.0.0"),  # noqa: S104  # the pod's address; the cluster reaches it there
        port=_whole(environment, "PENSTOCK_PORT", 8080, least=0),
        answers_port=_whole(environment, "PENSTOCK_ANSWERS_PORT", 8081, least=0),
        tracking_uri=text("MLFLOW_TRACKING_URI", ""),
        download_timeout=_number(environment, "PENSTOCK_DOWNLOAD_TIMEOUT_SECONDS", 1800.0),
        secrets=termination(environment)[1],
    )


def termination(environment: Mapping[str, str]) -> tuple[Path, tuple[str, ...]]:
    """Where the last sentence goes, and the values that it must never contain. Never fails."""
    log = Path(environment.get("PENSTOCK_TERMINATION_LOG") or "/dev/termination-log")
    return log, tuple(value for name in _SECRETS if (value := environment.get(name, "")))


def _whole(environment: Mapping[str, str], name: str, default: int, *, least: int) -> int:
    value = environment.get(name, "")
    if not value:
        return default
    if not value.isdecimal() or int(value) < least:
        raise Failure(f"{name} is {value!r}; set it to a whole number of at least {least}")
    return int(value)


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    value = environment.get(name, "")
    if not value:
        return default
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise Failure(f"{name} is {value!r}; set it to a number of at least 0")
    return number


def _percent(environment: Mapping[str, str], name: str, default: float) -> float:
    number = _number(environment, name, default)
    if number > 100:
        raise Failure(f"{name} is {environment[name]!r}; set it to a number from 0 to 100")
    return number
