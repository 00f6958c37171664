"""A model that takes its time."""

import time

import pandas as pd
from mlflow import models, pyfunc

SECONDS = 1.0


class Slow(pyfunc.PythonModel):  # type: ignore[misc]
    def predict(self, model_input: pd.DataFrame) -> list[float]:
        time.sleep(SECONDS)
        return [2 * float(value) for value in model_input["x"]]


models.set_model(Slow())
