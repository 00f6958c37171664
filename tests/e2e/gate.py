"""A registry that a scenario may break: a small server that hands everything on to the shared MLflow, behind a login.

This file is both the program of the pod and what puts it there. The program needs the standard library only.
"""

import base64
import http.server
import os
import pathlib
import urllib.error
import urllib.request
from typing import Any

NAME = "gate"
PORT = 5000
USERNAME, PASSWORD = "rater", "correct horse"
IMAGE = os.environ.get("PENSTOCK_RUNTIME_IMAGE", "localhost/penstock-runtime:dev")


class Handler(http.server.BaseHTTPRequestHandler):
    """Hands on every request of those who know the password, if there is one."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        """Hand on the request and its answer."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self._welcome():
            self._send(401, "text/plain", b"You are not authenticated.")
            return
        passed = {name: self.headers[name] for name in ("Content-Type", "Accept") if name in self.headers}
        request = urllib.request.Request(os.environ["UPSTREAM"] + self.path, body or None, passed, method=self.command)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                self._send(response.status, response.headers.get("Content-Type", ""), response.read())
        except urllib.error.HTTPError as refused:
            self._send(refused.code, refused.headers.get("Content-Type", ""), refused.read())

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer  # noqa: N815  # http.server's names

    def _welcome(self) -> bool:
        login = os.environ.get("LOGIN", "")
        wanted = "Basic " + base64.b64encode(login.encode()).decode()
        return not login or self.headers.get("Authorization") == wanted

    def _send(self, status: int, content_type: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def objects(
    namespace: str, upstream: str, *, login: bool = False, replicas: int = 1
) -> list[tuple[str, dict[str, Any]]]:
    """The gate's objects, with their paths in the API."""
    labels = {"app": NAME}
    container = {
        "name": NAME,
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "/program/gate.py"],
        "env": [
            {"name": "UPSTREAM", "value": upstream},
            {"name": "LOGIN", "value": f"{USERNAME}:{PASSWORD}" if login else ""},
        ],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "program", "mountPath": "/program"}],
    }
    pod = {
        "metadata": {"labels": labels},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "containers": [container],
            "volumes": [{"name": "program", "configMap": {"name": NAME}}],
        },
    }
    core, apps = f"/api/v1/namespaces/{namespace}", f"/apis/apps/v1/namespaces/{namespace}"
    meta = {"metadata": {"name": NAME}}
    program = {"gate.py": pathlib.Path(__file__).read_text(encoding="utf-8")}
    service = {"selector": labels, "ports": [{"port": PORT, "targetPort": PORT}]}
    deployment = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod}
    return [
        (f"{core}/configmaps/{NAME}", {"apiVersion": "v1", "kind": "ConfigMap", **meta, "data": program}),
        (f"{core}/services/{NAME}", {"apiVersion": "v1", "kind": "Service", **meta, "spec": service}),
        (f"{apps}/deployments/{NAME}", {"apiVersion": "apps/v1", "kind": "Deployment", **meta, "spec": deployment}),
    ]


def address(namespace: str) -> str:
    """The gate as pods reach it."""
    return f"http://{NAME}.{namespace}.svc:{PORT}"


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("", PORT), Handler).serve_forever()
