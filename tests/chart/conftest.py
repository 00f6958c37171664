"""Helm, from PATH (`make chart` puts it there) or from the development cluster's cache."""

import os
import shutil

import pytest

from dev.cluster import settings
from tests.chart import rendering


@pytest.fixture(scope="session")
def helm() -> rendering.Helm:
    cache = settings.Settings.from_environment(os.environ).cache / "bin"
    built = sorted(cache.glob("helm-*/helm"), key=lambda path: path.stat().st_mtime)
    found = shutil.which("helm") or (str(built[-1]) if built else None)
    if found is None:
        pytest.skip(f"helm is neither on PATH nor in {cache}: run `make cluster`")
    return rendering.Helm(found)


@pytest.fixture(scope="session")
def defaults(helm: rendering.Helm) -> rendering.Rendered:
    return helm.template()
