"""The demo's view of the cluster: apply, delete, and a live picture of one ModelDeployment and its events.

Through the official client; objects are the JSON that the API server speaks.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
from kubernetes.aio import client, config, watch

Json = dict[str, Any]

GROUP, VERSION, PLURAL = "penstock.dev", "v1alpha1", "modeldeployments"
APPLY = "application/apply-patch+yaml"
WATCH_SECONDS = 60
AGAIN_SECONDS = 0.5


class DemoError(Exception):
    """The demo cannot be shown; says what is wrong and what to do."""


class Cluster:
    """A Kubernetes cluster on which Penstock is installed."""

    def __init__(self, api: Any) -> None:
        self._objects = client.CustomObjectsApi(api)
        self._core = client.CoreV1Api(api)

    async def service_address(self, namespace: str, name: str) -> str:
        """Address and first port of a Service, as reached in the cluster's network."""
        try:
            service = await self._core.read_namespaced_service(name, namespace)
        except client.ApiException as error:
            if error.status == 404:
                raise DemoError(f"there is no Service {name} in {namespace}: install the release first") from error
            raise
        return f"http://{service.spec.cluster_ip}:{service.spec.ports[0].port}"

    async def ensure_namespace(self, name: str) -> None:
        """The namespace exists."""
        try:
            await self._core.create_namespace({"metadata": {"name": name}})
        except client.ApiException as error:
            if error.status != 409:
                raise

    async def apply(self, namespace: str, body: Json) -> str:
        """The ModelDeployment is as `body` says; answers its uid, which an earlier one of the same name had not."""
        name = body["metadata"]["name"]
        await self._objects.patch_namespaced_custom_object(
            GROUP,
            VERSION,
            namespace,
            PLURAL,
            name,
            body,
            field_manager="penstock-demo",
            force=True,
            _content_type=APPLY,
        )
        # The client knows nothing of the answer 201, which a new object has; so ask again.
        stored = await self._objects.get_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, name)
        return str(stored["metadata"]["uid"])

    async def remove(self, namespace: str, name: str) -> None:
        """The ModelDeployment and its pods are gone."""
        try:
            await self._objects.delete_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, name)
        except client.ApiException as error:
            if error.status != 404:
                raise
        labels = f"penstock.dev/deployment={name}"
        while (await self._core.list_namespaced_pod(namespace, label_selector=labels)).items:  # noqa: ASYNC110
            await asyncio.sleep(AGAIN_SECONDS)

    async def follow(self, namespace: str, name: str, learn: Callable[[Json], None]) -> None:
        """Tell every state of a ModelDeployment, the present one first, until cancelled."""
        call = self._objects.list_namespaced_custom_object
        async for item in _watched(call, GROUP, VERSION, namespace, PLURAL, field_selector=f"metadata.name={name}"):
            learn(item)

    async def follow_events(self, namespace: str, uid: str, learn: Callable[[Json], None]) -> None:
        """Tell every event about an object, until cancelled."""
        chosen = f"involvedObject.uid={uid}"
        async for item in _watched(self._core.list_namespaced_event, namespace, field_selector=chosen):
            learn(item)


async def _watched(call: Any, *arguments: Any, **options: Any) -> AsyncIterator[Json]:
    """Objects as they are and as they change. A watch that breaks is taken up again from the beginning."""
    while True:
        stream = watch.Watch()
        try:
            async for change in stream.stream(call, *arguments, timeout_seconds=WATCH_SECONDS, **options):
                if change["type"] in {"ADDED", "MODIFIED"}:
                    yield change["raw_object"]
        except (client.ApiException, aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(AGAIN_SECONDS)
        finally:
            await stream.close()


@contextlib.asynccontextmanager
async def connect() -> AsyncIterator[Cluster]:
    """The cluster of the current kubeconfig."""
    configuration = client.Configuration()
    try:
        await config.load_kube_config(client_configuration=configuration)
    except config.ConfigException as error:
        raise DemoError(f"no cluster is configured ({error}): run the demo by `make demo`") from error
    async with client.ApiClient(configuration) as api:
        yield Cluster(api)
