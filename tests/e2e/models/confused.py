"""A model that cannot predict the example it was logged with."""

import pandas as pd
from mlflow import models, pyfunc


class Confused(pyfunc.PythonModel):  # type: ignore[misc]
    def predict(self, model_input: pd.DataFrame) -> list[float]:
        return [float(value) for value in model_input["y"]]


models.set_model(Confused())
