"""Which files an image is made of, and what every Dockerfile must say."""

import pytest

from dev import images
from dev.cluster import settings

ALL = (*images.OWN, *images.STAND_INS)
NAMED = pytest.mark.parametrize("image", [pytest.param(image, id=image.name) for image in ALL])


def names(image: images.Image) -> set[str]:
    return {str(path.relative_to(images.ROOT)) for path in images.files(image)}


def test_an_image_is_made_of_what_its_dockerfile_copies() -> None:
    by_name = {image.name: image for image in ALL}

    assert names(by_name["envoy"]) == {
        ".dockerignore",
        "dev/cluster/base.py",
        "images/envoy.Dockerfile",
        "images/envoy/bootstrap.yaml",
        "images/envoy/entrypoint.sh",
        "requirements/envoy.txt",
    }
    assert {"pyproject.toml", "requirements/operator.txt", "operator/penstock/__init__.py"} <= names(
        by_name["operator"]
    )
    assert not {name for image in ALL for name in names(image) if name.endswith(".pyc") or name.startswith("tests/")}


def test_stand_ins_are_for_a_cluster_that_can_pull_nothing() -> None:
    assert {flavour: [image.name for image in images.wanted(flavour)] for flavour in settings.Flavour} == {
        settings.Flavour.LOCAL: ["operator", "runtime", "envoy", "prometheus", "mlflow"],
        settings.Flavour.KIND: ["operator", "runtime", "envoy"],
        settings.Flavour.CURRENT: ["operator", "runtime", "envoy"],
    }


@NAMED
def test_every_image_runs_as_a_numbered_user_without_a_shell(image: images.Image) -> None:
    lines = image.file.read_text().splitlines()

    assert lines.count("USER 65532:65532") == 1
    assert lines.count("STOPSIGNAL SIGTERM") == 1
    assert [line for line in lines if line.startswith(("ENTRYPOINT", "CMD")) and "[" not in line] == []


@NAMED
def test_every_package_from_an_index_is_pinned_by_hash(image: images.Image) -> None:
    parts = image.file.read_text().replace("\\\n", " ").replace("&&", "\n").splitlines()
    installs = [part for part in parts if "pip" in part and " install " in part]

    assert [part for part in installs if "--require-hashes" not in part and "--no-index" not in part] == []
