"""A model that fails three inputs in ten."""

import pandas as pd
from mlflow import models, pyfunc

LIMIT = 0.7


class Erroring(pyfunc.PythonModel):  # type: ignore[misc]
    def predict(self, model_input: pd.DataFrame) -> list[float]:
        if (model_input["x"] >= LIMIT).any():
            raise ValueError("x is beyond what I have learned")
        return [2 * float(value) for value in model_input["x"]]


models.set_model(Erroring())
