"""A model that answers the same to every input."""

import pandas as pd
from mlflow import models, pyfunc


class Stuck(pyfunc.PythonModel):  # type: ignore[misc]
    def predict(self, model_input: pd.DataFrame) -> list[float]:
        return [1.0] * len(model_input)


models.set_model(Stuck())
