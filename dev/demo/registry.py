"""The demo's versions in MLflow: registered once, found again by their tags, never doubled.

Rule: MLflow's client is synchronous and keeps state of its own, so nothing here runs in the event loop's thread.
"""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from dev.demo import models
from dev.demo.models import Role

ALIAS = "champion"
EXPERIMENT = "penstock-demo"
_ROLE_TAG, _RECIPE_TAG, _ACCURACY_TAG = "demo.role", "demo.recipe", "demo.accuracy"


@dataclass(frozen=True)
class Registered:
    """A version of the demo's model, with what its author said of it."""

    version: int
    accuracy: float


def ensure(tracking_uri: str) -> dict[Role, Registered]:
    """All versions; those that are missing are trained and registered. Takes some seconds the first time."""
    with _quiet():
        found = _find(tracking_uri)
        if len(found) == len(Role):
            return found
        for trained in models.train():
            if trained.role not in found:
                _register(tracking_uri, trained)
        return _find(tracking_uri)


def point(tracking_uri: str, version: int) -> None:
    """Move the alias to a version."""
    import mlflow

    with _quiet():
        mlflow.MlflowClient(tracking_uri).set_registered_model_alias(models.NAME, ALIAS, str(version))


def _find(tracking_uri: str) -> dict[Role, Registered]:
    import mlflow

    client = mlflow.MlflowClient(tracking_uri)
    versions = client.search_model_versions(f"name = '{models.NAME}'")
    newest_last = sorted(versions, key=lambda version: int(version.version))
    return {
        Role(version.tags[_ROLE_TAG]): Registered(int(version.version), float(version.tags[_ACCURACY_TAG]))
        for version in newest_last
        if version.status == "READY" and version.tags.get(_RECIPE_TAG) == models.RECIPE
    }


def _register(tracking_uri: str, trained: models.Trained) -> None:
    import mlflow
    import sklearn

    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run(run_name=trained.role.value):
        mlflow.log_metric("accuracy", trained.accuracy)
        predicted = trained.estimator.predict(trained.example)
        logged = mlflow.sklearn.log_model(
            trained.estimator,
            name="model",
            signature=mlflow.models.infer_signature(trained.example, predicted),
            input_example=trained.example,
            # Written down instead of found out: MLflow would import the model in another process to look.
            pip_requirements=[f"scikit-learn=={sklearn.__version__}"],
            serialization_format="cloudpickle",
        )
    tags = {
        _ROLE_TAG: trained.role.value,
        _RECIPE_TAG: models.RECIPE,
        _ACCURACY_TAG: f"{trained.accuracy:.3f}",
    }
    mlflow.register_model(logged.model_uri, models.NAME, tags=tags)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """MLflow talks to people at a notebook; the demo has a story to tell."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    os.environ["GIT_PYTHON_REFRESH"] = "quiet"
    import mlflow  # noqa: F401  # sets its own log levels when it is first imported

    logger = logging.getLogger("mlflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
