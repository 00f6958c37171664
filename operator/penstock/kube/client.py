"""The Kubernetes API as the operator uses it: plain JSON in and out, and errors of `penstock.errors` only.

It stands on the official asynchronous client for login and transport, and leaves its generated model classes alone:
objects stay the dictionaries that watches deliver. Every request has a time-out.
"""

import base64
import contextlib
import math
import os
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import orjson
from kubernetes.aio import client as official
from kubernetes.aio import config as login

from penstock import errors
from penstock.kube import resources
from penstock.kube.resources import Obj, Objs, Resource

FIELD_MANAGER = "penstock"

_JSON = "application/json"
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_PAGE = 500

Fence = Callable[[], float]
"""For how many seconds this process may still write; raises NotLeading when it may not."""


@contextlib.asynccontextmanager
async def connect(
    configuration: Any = None,
    *,
    timeout_seconds: float = 10,
    connections: int = 64,
    user_agent: str = "penstock",
    fence: Fence | None = None,
) -> AsyncIterator["Cluster"]:
    """The cluster of a `kubernetes.aio` configuration; else the one the pod runs in, or that KUBECONFIG names.

    With a `fence`, nothing is written that it does not allow, and no write is waited for longer than it says.

    Raises:
        errors.Misconfigured: there is neither a service account nor a usable kubeconfig.
    """
    configuration = configuration or await _configuration()
    configuration.connection_pool_maxsize = connections
    async with official.ApiClient(configuration) as api:
        api.user_agent = user_agent
        yield Cluster(api, timeout_seconds, fence)


async def _configuration() -> Any:
    configuration = official.Configuration()
    try:
        login.load_incluster_config(client_configuration=configuration)
    except login.ConfigException as no_service_account:
        try:
            # named here, because the library reads the variable only once, when it is imported
            await login.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=configuration)
        except (login.ConfigException, OSError, TypeError) as error:
            raise errors.Misconfigured(
                f"no way to log in to a cluster: {no_service_account}; {error}; run in a pod with a service account, "
                "or set KUBECONFIG"
            ) from error
    return configuration


class Cluster:
    """One Kubernetes API server.

    Errors of every method: ClusterUnavailable, Conflict, Denied, Invalid, Missing; of those that write, NotLeading.
    """

    def __init__(self, api: Any, timeout_seconds: float, fence: Fence | None = None) -> None:
        self._api = api
        self._fence = fence
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=min(5.0, timeout_seconds))
        self._long_timeout = aiohttp.ClientTimeout(total=6 * timeout_seconds, sock_connect=min(5.0, timeout_seconds))

    @property
    def configuration(self) -> Any:
        """The `kubernetes.aio` configuration: address and login."""
        return self._api.configuration

    async def get(self, resource: Resource, namespace: str, name: str) -> Obj | None:
        """One object, or None if there is none."""
        try:
            return await self._call("GET", resource.path(namespace, name))
        except errors.Missing:
            return None

    async def list(
        self, resource: Resource, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Objs:
        """All objects with these labels, of a namespace or of all. They carry apiVersion and kind."""
        names = {"apiVersion": resource.api_version, "kind": resource.kind}
        return [names | item for item in await self._pages(resource, namespace, labels, _JSON)]

    async def list_metadata(
        self, resource: Resource, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Objs:
        """As `list`, but only the metadata of each object: far less to read for who compares versions."""
        return await self._pages(resource, namespace, labels, _METADATA_LIST)

    async def create_if_absent(self, obj: Obj) -> Obj:
        """Create the object, or answer the one that is there already."""
        resource, metadata = resources.of(obj), obj["metadata"]
        try:
            return await self.create(obj)
        except errors.Conflict:
            found = await self.get(resource, metadata["namespace"], metadata["name"])
            if found is None:
                raise
            return found

    async def create(self, obj: Obj) -> Obj:
        """Create the object; Conflict if there is one of that name."""
        return await self._call("POST", resources.of(obj).path(obj["metadata"]["namespace"]), body=obj)

    async def apply(self, obj: Obj, *, field_manager: str = FIELD_MANAGER, force: bool = True) -> Obj:
        """Server-side apply: the fields in `obj` become ours, everybody else's stay as they are."""
        path = resources.of(obj).path(obj["metadata"]["namespace"], obj["metadata"]["name"])
        query = {"fieldManager": field_manager, "force": str(force).lower()}
        return await self._call("PATCH", path, query=query, body=obj, content="application/apply-patch+yaml")

    async def replace_status(self, obj: Obj) -> Obj:
        """Write the status of `obj` if nobody has written the object since; nothing else of it is sent."""
        metadata = obj["metadata"]
        body = {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "metadata": {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion")},
            "status": obj["status"],
        }
        path = resources.of(obj).path(metadata["namespace"], metadata["name"], "status")
        return await self._call("PUT", path, query={"fieldManager": FIELD_MANAGER}, body=body)

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Obj) -> Obj:
        """Merge `patch` into an object; a resourceVersion in it makes it conditional."""
        path = resource.path(namespace, name)
        query = {"fieldManager": FIELD_MANAGER}
        return await self._call("PATCH", path, query=query, body=patch, content="application/merge-patch+json")

    async def replace(self, obj: Obj) -> Obj:
        """Write the whole object if nobody has written it since."""
        path = resources.of(obj).path(obj["metadata"]["namespace"], obj["metadata"]["name"])
        return await self._call("PUT", path, query={"fieldManager": FIELD_MANAGER}, body=obj)

    async def scale(self, namespace: str, name: str, replicas: int) -> None:
        """Set the number of pods of a Deployment."""
        path = resources.DEPLOYMENT.path(namespace, name, "scale")
        body = {"spec": {"replicas": replicas}}
        query = {"fieldManager": FIELD_MANAGER}
        await self._call("PATCH", path, query=query, body=body, content="application/merge-patch+json")

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        propagation: str = "Background",
        uid: str | None = None,
    ) -> bool:
        """Delete an object, only that of this uid if one is given; False if it was gone already."""
        body: Obj = {"propagationPolicy": propagation}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            await self._call("DELETE", resource.path(namespace, name), body=body)
        except errors.Missing:
            return False
        except errors.Conflict:
            if uid is None:
                raise
            return False
        return True

    async def read_secret(self, namespace: str, name: str) -> dict[str, str] | None:
        """The entries of a Secret that are text, decoded; None if there is no such Secret."""
        secret = await self.get(resources.SECRET, namespace, name)
        if secret is None:
            return None
        decoded = {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}
        return {key: value.decode() for key, value in decoded.items() if _is_text(value)}

    async def _pages(
        self, resource: Resource, namespace: str | None, labels: Mapping[str, str] | None, accept: str
    ) -> Objs:
        query = {"limit": str(_PAGE)}
        if labels:
            query["labelSelector"] = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        items: Objs = []
        while True:
            page = await self._call("GET", resource.path(namespace), query=query, accept=accept)
            items += page.get("items") or []
            token = page.get("metadata", {}).get("continue")
            if not token:
                return items
            query["continue"] = token

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Obj | None = None,
        content: str = _JSON,
        accept: str = _JSON,
    ) -> Obj:
        """One request. The body goes past the client's own serialiser, which would copy it value by value."""
        try:
            _, url, headers, _, _ = await self._api.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params={"Accept": accept, "Content-Type": content},
                auth_settings=["BearerToken"],
            )
            long = method == "GET" and "limit=" in url
            timeout = self._long_timeout if long else self._timeout
            if method != "GET" and self._fence is not None:
                # the last thing before the request goes out, so that little can come in between
                timeout = aiohttp.ClientTimeout(total=min(self._timeout.total or math.inf, self._fence()))
            response = await self._api.call_api(method, url, headers, body, _request_timeout=timeout)
            data = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise errors.ClusterUnavailable(f"the Kubernetes API does not answer {method} {path}: {reason}") from error
        return _answer(method, path, response.status, data)


def _answer(method: str, path: str, status: int, data: bytes) -> Obj:
    """The object in an answer, or the error that it is."""
    try:
        body = orjson.loads(data) if data else {}
    except orjson.JSONDecodeError:
        body = {"message": data[:300].decode(errors="replace")}
    if status < 300 and isinstance(body, dict):
        return body
    said = str(body.get("message") or f"status {status}") if isinstance(body, dict) else f"status {status}"
    what = f"{method} {path}: {said}"
    if status == 409:
        raise errors.Conflict(f"somebody else wrote first, {what}")
    if status == 404:
        raise errors.Missing(f"the Kubernetes API does not know it, {what}")
    if status == 403:
        raise errors.Denied(f"the Kubernetes API refuses, {what}")
    if status in {400, 405, 406, 413, 415, 422}:
        raise errors.Invalid(f"the Kubernetes API finds it invalid, {what}")
    raise errors.ClusterUnavailable(f"the Kubernetes API answered {status} to {what}")


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
