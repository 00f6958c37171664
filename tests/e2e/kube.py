"""The API server as the scenarios see it: plain JSON over the official client, and nothing of the code under test."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from kubernetes.aio import client, config

Json = dict[str, Any]

Query = Mapping[str, str]
NOTHING: Query = {}

JSON = "application/json"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
TIMEOUT_SECONDS = 20


class Refused(Exception):
    """The API server said no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Kube:
    """One cluster. Paths begin with /api or /apis."""

    def __init__(self, api: Any) -> None:
        self._api = api

    async def call(
        self, method: str, path: str, body: Json | None = None, content_type: str = JSON, query: Query = NOTHING
    ) -> Json:
        """One request; raises Refused."""
        text = await self.text(method, path, body, content_type, query)
        parsed: Json = json.loads(text or "{}")
        return parsed

    async def text(
        self, method: str, path: str, body: Json | None = None, content_type: str = JSON, query: Query = NOTHING
    ) -> str:
        """One request whose answer need not be JSON; raises Refused."""
        request = await self._api.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params={"Accept": "*/*", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        response = await self._api.call_api(*request, _request_timeout=TIMEOUT_SECONDS)
        content: str = (await response.read()).decode(errors="replace")
        if response.status >= 400:
            raise Refused(response.status, content[:2000])
        return content

    async def find(self, path: str) -> Json | None:
        """An object, or None."""
        try:
            return await self.call("GET", path)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    async def items(self, path: str, query: Query = NOTHING) -> list[Json]:
        """The objects of a list."""
        found: list[Json] = (await self.call("GET", path, query=query))["items"]
        return found

    async def apply(self, path: str, body: Json) -> Json:
        """Server-side apply, and a complaint about unknown fields."""
        options = {"fieldManager": "e2e", "force": "true", "fieldValidation": "Strict"}
        return await self.call("PATCH", path, body, APPLY, options)

    async def merge(self, path: str, patch: Json) -> Json:
        """Merge patch."""
        return await self.call("PATCH", path, patch, MERGE)

    async def delete(self, path: str, query: Query = NOTHING) -> None:
        """Delete; nothing happens if it is gone."""
        try:
            await self.call("DELETE", path, query=query)
        except Refused as refused:
            if refused.status != 404:
                raise

    async def scale(self, namespace: str, deployment: str, replicas: int) -> None:
        """Ask for so many pods."""
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}/scale"
        await self.merge(path, {"spec": {"replicas": replicas}})


@contextlib.asynccontextmanager
async def connect() -> AsyncIterator[Kube]:
    """The cluster of KUBECONFIG."""
    configuration = client.Configuration()
    await config.load_kube_config(client_configuration=configuration)
    async with client.ApiClient(configuration) as api:
        yield Kube(api)
