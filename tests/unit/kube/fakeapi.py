"""An API server in memory that can be made to misbehave: watches that break, answers that fail."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from kubernetes.aio import client as official
from penstock.kube import resources
from penstock.kube.resources import Obj, Resource

Watcher = tuple[Resource, "asyncio.Queue[Obj | None]"]


def web_answer(status: int, message: str = "") -> web.Response:
    """An answer with nothing but a status and a message."""
    return web.json_response({"message": message} if message else {}, status=status)


class FakeApi:
    """Lists, gets and watches of the resources that Penstock watches."""

    def __init__(self) -> None:
        self.objects: dict[Resource, dict[str, Obj]] = {resource: {} for resource in resources.WATCHED}
        self.watchers: list[Watcher] = []
        self.answers: list[web.Response] = []  # what the next requests get, whatever they ask
        self.requests: list[tuple[str, str, dict[str, str], str]] = []
        self.history: list[tuple[Resource, int, Obj]] = []
        self.version = 100

    def put(self, resource: Resource, name: str, *, silently: bool = False, **more: Any) -> Obj:
        """Store an object and tell the watches."""
        self.version += 1
        known = self.objects[resource].get(name)
        obj: Obj = {
            "metadata": {
                "namespace": "ml",
                "name": name,
                "uid": known["metadata"]["uid"] if known else f"uid-{self.version}",
                "resourceVersion": str(self.version),
            }
        } | more
        self.objects[resource][name] = obj
        if not silently:
            self.tell(resource, {"type": "MODIFIED" if known else "ADDED", "object": obj})
        return obj

    def remove(self, resource: Resource, name: str, *, silently: bool = False) -> None:
        """Delete an object; silently, no watch hears of it."""
        self.version += 1
        obj = self.objects[resource].pop(name)
        if not silently:
            metadata = obj["metadata"] | {"resourceVersion": str(self.version)}
            self.tell(resource, {"type": "DELETED", "object": obj | {"metadata": metadata}})

    def tell(self, resource: Resource, event: Obj | None) -> None:
        """Send an event on the watches of a resource, those that begin later too; None breaks off those of now."""
        if event is not None and event["type"] != "ERROR":
            self.history.append((resource, self.version, event))
        for watched, queue in self.watchers:
            if watched == resource:
                queue.put_nowait(event)

    def watched(self) -> set[Resource]:
        """Which resources are being watched now."""
        return {resource for resource, _ in self.watchers}

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[Any]:
        """Serve; the configuration of a client for it."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            yield official.Configuration(host=f"http://127.0.0.1:{port}")
        finally:
            for _, queue in self.watchers:
                queue.put_nowait(None)
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path, dict(request.query), await request.text()))
        if self.answers:
            return self.answers.pop(0)
        if "/slow/" in request.path:
            await asyncio.sleep(1)
        discovered = self._discovery(request.path)
        if discovered is not None:
            return web.json_response(discovered)
        for resource in resources.WATCHED:
            if request.path in {resource.path(), resource.path("ml")}:
                if request.query.get("watch"):
                    return await self._watch(request, resource)
                items = list(self.objects[resource].values())
                return web.json_response(
                    {"kind": "List", "metadata": {"resourceVersion": str(self.version)}, "items": items}
                )
            if request.path.startswith(resource.path("ml") + "/"):
                obj = self.objects[resource].get(request.path.rsplit("/", 1)[1])
                if obj is not None:
                    return web.json_response(obj | {"apiVersion": resource.api_version, "kind": resource.kind})
        return web.json_response({"message": "not found"}, status=404)

    async def _watch(self, request: web.Request, resource: Resource) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        queue: asyncio.Queue[Obj | None] = asyncio.Queue()
        since = int(request.query["resourceVersion"])
        for watched, version, missed in self.history:
            if watched == resource and version > since:
                queue.put_nowait(missed)
        self.watchers.append((resource, queue))
        try:
            while (event := await queue.get()) is not None:
                await response.write(json.dumps(event).encode() + b"\n")
        finally:
            self.watchers.remove((resource, queue))
        return response

    @staticmethod
    def _discovery(path: str) -> Obj | None:
        builtin = [
            Resource("", "v1", "Namespace", "namespaces"),
            Resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions"),
        ]
        everything = [*resources.WATCHED, *builtin]
        if path == "/api":
            return {"versions": ["v1"]}
        if path == "/apis":
            groups = {resource.group: resource.version for resource in everything if resource.group}
            return {
                "groups": [
                    {"name": group, "versions": [{"version": version}], "preferredVersion": {"version": version}}
                    for group, version in groups.items()
                ]
            }
        found = [resource for resource in everything if path == resource.path().rsplit("/", 1)[0]]
        if not found:
            return None
        return {
            "resources": [
                {
                    "name": resource.plural,
                    "kind": resource.kind,
                    "singularName": resource.kind.lower(),
                    "namespaced": resource not in builtin,
                    "verbs": ["get", "list", "watch", "patch"],
                }
                for resource in found
            ]
        }
