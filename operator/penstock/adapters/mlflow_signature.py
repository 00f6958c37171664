"""The signature of a model version: read from its MLmodel file, which the MLflow server hands out itself.

The server reads its artifact store with its own credentials, so that the operator needs none, whatever the store is.
Two small requests: where the version's files lie, and the one file. Nothing of the model is loaded.
"""

import yaml

from penstock import errors, ports
from penstock.adapters import mlflow_store
from penstock.analysis import signature

FILE = "MLmodel"
_NOTHING = frozenset({"", "~", "null"})


def read(store: mlflow_store.Store, version: ports.ModelVersion) -> signature.Signature | None:
    """The signature, or None if the version has none. Besides MLflow's RestException it raises errors of the tree."""
    which = f"version {version.version} of {version.name!r}"
    uri: str = store.get_model_version_download_uri(version.name, str(version.version))
    try:
        content = _fetch(store, version, uri)
    except errors.RegistryUnavailable as error:
        scheme = uri.partition(":")[0] if ":" in uri else "a folder"
        raise errors.RegistryUnavailable(
            f"the file {FILE} of {which}, which lies in {scheme}, cannot be read: {error.message}; the server itself "
            "must be able to read its artifact store"
        ) from error
    if content is None:
        raise errors.Misconfigured(f"{which} has no file {FILE}: log it as an MLflow model and register it again")
    try:
        return parse(content)
    except signature.Malformed as error:
        raise errors.Misconfigured(
            f"the file {FILE} of {which} cannot be understood: {error}; log the model again with MLflow"
        ) from error


def _fetch(store: mlflow_store.Store, version: ports.ModelVersion, uri: str) -> bytes | None:
    kind, _, rest = uri.partition(":/")
    run, _, path = rest.partition("/")
    if kind == "runs" and path:  # the server does not follow these for a version
        return store.artifact("/get-artifact", run_id=run, path=f"{path.rstrip('/')}/{FILE}")
    return store.artifact("/model-versions/get-artifact", name=version.name, version=str(version.version), path=FILE)


def parse(content: bytes) -> signature.Signature | None:
    """The signature in an MLmodel file. Raises Malformed, and nothing else."""
    try:
        # strings, lists and mappings only: nothing in the file makes anything else
        file = yaml.load(content, yaml.BaseLoader)  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise signature.Malformed("it is not YAML") from error
    if not isinstance(file, dict):
        raise signature.Malformed("it is not a mapping")
    stored = file.get("signature")
    return None if isinstance(stored, str) and stored in _NOTHING else signature.parse(stored)
