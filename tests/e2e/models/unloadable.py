"""A model that needs a library that nobody has."""

import importlib

import pandas as pd
from mlflow import models, pyfunc


class Unloadable(pyfunc.PythonModel):  # type: ignore[misc]
    def load_context(self, context: object) -> None:  # noqa: ARG002  # as MLflow calls it
        importlib.import_module("a_library_that_nobody_has")

    def predict(self, model_input: pd.DataFrame) -> list[float]:
        return [float(value) for value in model_input["x"]]


models.set_model(Unloadable())
