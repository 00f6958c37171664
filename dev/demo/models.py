"""The models of the demo: four versions of a classifier, the last two with mistakes that their own tests cannot see.

Each is trained on scikit-learn's breast cancer data: is a cell sample benign? The author of version 3 has read the
labels the other way round, in training and in the test alike: it answers every request, and nearly always wrongly.
Version 4 takes logarithms, which fits a little better. Its author left out the few samples with a smooth outline, whose
concavity is 0 and has no logarithm.
"""

import enum
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn import datasets, linear_model, model_selection, pipeline, preprocessing, tree

NAME = "tumour"
FEATURES = ("mean radius", "mean texture", "mean smoothness", "mean concavity")
RECIPE = "2"
"""To be changed with the training, so that versions of an older recipe are not taken for the new ones."""


class Role(enum.StrEnum):
    """The part a version plays in the story."""

    FIRST = "first"
    BETTER = "better"
    INVERTED = "inverted"
    FLAWED = "flawed"


@dataclass(frozen=True)
class Trained:
    """A model in memory, with what its author measured."""

    role: Role
    estimator: Any
    accuracy: float
    example: pd.DataFrame


def train() -> tuple[Trained, ...]:
    """Train the four versions; the same every time."""
    samples, benign = _data()
    known, unseen, known_answers, answers = model_selection.train_test_split(
        samples, benign, test_size=0.3, random_state=1, stratify=benign
    )
    rough, rough_unseen = _rough(known), _rough(unseen)
    first = tree.DecisionTreeClassifier(max_depth=1, random_state=1)
    better = pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression())
    inverted = pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression(C=10))
    flawed = pipeline.make_pipeline(
        preprocessing.FunctionTransformer(np.log), preprocessing.StandardScaler(), linear_model.LogisticRegression(C=10)
    )
    first.fit(known, known_answers)
    better.fit(known, known_answers)
    inverted.fit(known, 1 - known_answers)
    flawed.fit(known[rough], known_answers[rough])
    example = known[rough].head(2)
    return (
        Trained(Role.FIRST, first, first.score(unseen, answers), example),
        Trained(Role.BETTER, better, better.score(unseen, answers), example),
        Trained(Role.INVERTED, inverted, inverted.score(unseen, 1 - answers), example),
        Trained(Role.FLAWED, flawed, flawed.score(unseen[rough_unseen], answers[rough_unseen]), example),
    )


def _data() -> tuple[pd.DataFrame, "pd.Series[Any]"]:
    frame = datasets.load_breast_cancer(as_frame=True)
    return frame.data[list(FEATURES)], frame.target


def _rough(samples: pd.DataFrame) -> "pd.Series[bool]":
    """Whose outline has dents."""
    return samples["mean concavity"] > 0


def requests(*, smooth_every: int | None, count: int = 400) -> tuple[bytes, ...]:
    """Bodies for /invocations, one sample each; every so many has a smooth outline, or none has."""
    samples, _ = _data()
    rough, smooth = samples[_rough(samples)], samples[~_rough(samples)]
    bodies = []
    for number in range(count):
        chosen = smooth if smooth_every is not None and number % smooth_every == smooth_every - 1 else rough
        row = chosen.iloc[number % len(chosen)]
        body = {"dataframe_split": {"columns": list(FEATURES), "data": [[float(value) for value in row]]}}
        bodies.append(json.dumps(body).encode())
    return tuple(bodies)
