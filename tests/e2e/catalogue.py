"""The versions that the scenarios roll out, registered once a session under one name, told apart by aliases.

Every scenario follows an alias of its own, so that scenarios that run at the same time do not move each other's.
Rule: MLflow's client blocks, so all of this is called in threads.
"""

import contextlib
import enum
import io
import logging
import os
import pathlib
import uuid
from dataclasses import dataclass
from typing import Any

MODELS = pathlib.Path(__file__).parent / "models"


class Kind(enum.StrEnum):
    """What a version is like."""

    GOOD = "good"
    BETTER = "better"
    BEST = "best"
    UNSIGNED = "unsigned"
    ERRORING = "erroring"
    SLOW = "slow"
    UNLOADABLE = "unloadable"
    CONFUSED = "confused"
    LYING = "lying"
    STUCK = "stuck"
    MISFIT = "misfit"
    """Wants a text and a country where the others want a number."""
    ROOMY = "roomy"
    """Takes a note besides, if there is one."""


@dataclass(frozen=True)
class Catalogue:
    """The registered versions of one session."""

    tracking_uri: str
    """As reached from outside of the cluster's pods."""
    name: str
    versions: dict[Kind, int]

    def point(self, alias: str, kind: Kind) -> None:
        """Move an alias."""
        self._client().set_registered_model_alias(self.name, alias, str(self.versions[kind]))

    def forget(self, alias: str) -> None:
        """Remove an alias."""
        self._client().delete_registered_model_alias(self.name, alias)

    def tags(self, kind: Kind) -> dict[str, str]:
        """The tags of a version."""
        return dict(self._client().get_model_version(self.name, str(self.versions[kind])).tags)

    def _client(self) -> Any:
        import mlflow

        return mlflow.MlflowClient(self.tracking_uri)


def register(tracking_uri: str) -> Catalogue:
    """Register one version of every kind."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_experiment(name)
    with mlflow.start_run(), contextlib.redirect_stderr(io.StringIO()):
        versions = {kind: _log(name, kind) for kind in Kind}
    return Catalogue(tracking_uri, name, versions)


def _log(name: str, kind: Kind) -> int:
    """Log a model from its code; MLflow only warns when the code fails at its example, as some of ours do."""
    import mlflow
    import pandas as pd
    from mlflow.types import ColSpec, Schema

    example = pd.DataFrame({"x": ["0.25"], "country": ["AT"]} if kind is Kind.MISFIT else {"x": [0.25]})
    signature = mlflow.models.infer_signature(example, [0.5])
    if kind is Kind.ROOMY:
        note = ColSpec("string", "note", required=False)
        signature = mlflow.models.ModelSignature(Schema([*signature.inputs, note]), signature.outputs)
    code = kind.value if (MODELS / f"{kind.value}.py").is_file() else Kind.GOOD.value
    signed = kind is not Kind.UNSIGNED
    logged = mlflow.pyfunc.log_model(
        name=kind.value,
        python_model=str(MODELS / f"{code}.py"),
        signature=signature if signed else None,
        input_example=example if signed and kind is not Kind.UNLOADABLE else None,
        pip_requirements=["mlflow"],
    )
    return int(mlflow.register_model(logged.model_uri, name).version)
