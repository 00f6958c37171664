"""MLflow's own client for one registry, with the credentials, limits and manners of a server that has many.

The client as it comes reads credentials, time-outs and retries from the environment of the process, and calls whatever
address it is given. Here a request goes through a session that judges addresses and tries once more, and is given its
own: two time-outs, no redirect (it would carry a request, and its credentials, to a server nobody named), no cookie
(one jar for all registries, whoever they belong to), no .netrc, and an answer of a sensible length.
"""

import base64
import json
from dataclasses import dataclass
from typing import Any

import requests
import urllib3
from google.protobuf import json_format  # type: ignore[import-untyped]  # no stubs among our dependencies
from mlflow.exceptions import RestException
from mlflow.store.model_registry import rest_store
from mlflow.tracking.request_header import registry as request_headers
from mlflow.utils import proto_json_utils, rest_utils, workspace_context, workspace_utils

from penstock import errors, ports
from penstock.adapters import mlflow_peers, transport

_DENIED_HOST = b"Invalid Host header"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how large one exchange with a registry may be."""

    connect_seconds: float = 3
    read_seconds: float = 4
    answer_bytes: int = 1 << 20


class Store(rest_store.RestStore):  # type: ignore[misc]  # mlflow is not typed
    """MLflow's store over REST. It raises RestException, RegistryUnavailable, RegistryDenied and Misconfigured."""

    def __init__(self, registry: ports.RegistryAddress, limits: Limits, session: requests.Session) -> None:
        self._address = transport.address(registry.tracking_uri)
        self._limits = limits
        self._session = session
        given = registry.credentials
        credentials = rest_utils.MlflowHostCreds(
            self._address.uri,
            username=given.username or self._address.username,
            password=given.password or self._address.password,
            token=given.token,
        )
        self._authorization = _authorization(credentials)
        self._secrets = _secrets(credentials, self._authorization)
        super().__init__(lambda: credentials)

    def artifact(self, endpoint: str, **params: str) -> bytes | None:
        """A file that the server reads from wherever it lies, with credentials of its own; None if there is none."""
        response, content = self._exchange(endpoint, "GET", {"params": params})
        if response.status_code == 200:
            return content
        if response.status_code == 404 and _is_error_of_mlflow(content):
            return None
        raise self._not_mlflow(response.status_code, "is not a file")

    def _call_endpoint(self, api: Any, json_body: str, **_: Any) -> Any:
        """One request; none of the calls used here gives the method that this one replaces further arguments."""
        endpoint, method = self._get_endpoint_from_method(api)
        payload = {"params" if method == "GET" else "json": json.loads(json_body)}
        response, content = self._exchange(endpoint, method, payload)
        return self._parsed(response.status_code, content, self._get_response_from_method(api))

    def _exchange(self, endpoint: str, method: str, payload: dict[str, Any]) -> tuple[requests.Response, bytes]:
        """One request and its answer, if the server speaks for itself."""
        try:
            response = self._session.request(
                method,
                f"{self._address}{endpoint}",
                headers=self._headers(),
                timeout=(self._limits.connect_seconds, self._limits.read_seconds),
                allow_redirects=False,
                stream=True,
                auth=_as_prepared,
                **payload,
            )
            content = transport.body(response, self._limits.answer_bytes)
        except mlflow_peers.Refused as error:
            raise errors.Misconfigured(f"the registry at {self._address} is not called: {error}") from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, transport.TooLong) as error:
            raise self._unavailable(self._why(error)) from error
        self._check_status(response, content)
        return response, content

    def _headers(self) -> dict[str, str]:
        """Those of MLflow's own client, and the login."""
        headers = dict(request_headers.resolve_request_headers())
        workspace = workspace_context.get_request_workspace()
        if workspace:
            headers.setdefault(workspace_utils.WORKSPACE_HEADER_NAME, workspace)
        if self._authorization is not None:
            headers["Authorization"] = self._authorization
        return headers

    def _check_status(self, response: requests.Response, content: bytes) -> None:
        status = response.status_code
        if status in {401, 403}:
            raise errors.RegistryDenied(f"the registry at {self._address} {self._denial(status, content)}")
        if 300 <= status < 400:
            raise self._unavailable(
                f"it redirects to {_printable(response.headers.get('Location', ''))}: make that the tracking URI"
            )
        if status >= 500 or status in {408, 429}:
            raise self._unavailable(f"it answers {transport.status_line(status)}")

    def _denial(self, status: int, content: bytes) -> str:
        answers = f"answers {transport.status_line(status)}"
        if _DENIED_HOST in content:
            return f"refuses this host name ({answers}): start it with --allowed-hosts naming it"
        if self._authorization is None:
            return (
                f"wants credentials ({answers}): name a Secret with MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, in spec.model.registry.secretRef"
            )
        if status == 401:
            return f"refuses the credentials ({answers}): correct the Secret named in spec.model.registry.secretRef"
        return f"forbids this ({answers}): grant the user READ on the model, and EDIT so that verdicts become tags"

    def _parsed(self, status: int, content: bytes, message: Any) -> Any:
        try:
            answer = json.loads(content)
        except ValueError as error:
            raise self._not_mlflow(status, "is not JSON") from error
        if not isinstance(answer, dict):
            raise self._not_mlflow(status, "is not a JSON object")
        if status != 200:
            if not isinstance(answer.get("error_code"), str):
                raise self._not_mlflow(status, "is not an error of MLflow's")
            told = {key: str(answer.get(key) or "") for key in ("error_code", "message")}
            raise RestException({key: self._without_secrets(text) for key, text in told.items()})  # it logs the code
        try:
            proto_json_utils.parse_dict(answer, message)
        except (json_format.Error, TypeError, ValueError, AttributeError, KeyError) as error:
            raise self._not_mlflow(status, "does not have MLflow's shape") from error
        return message

    def _not_mlflow(self, status: int, what: str) -> errors.RegistryUnavailable:
        return self._unavailable(
            f"its answer ({transport.status_line(status)}) {what}: check that the tracking URI leads to an MLflow "
            "server, any path prefix included"
        )

    def _unavailable(self, why: str) -> errors.RegistryUnavailable:
        said = self._without_secrets(why)
        return errors.RegistryUnavailable(f"the registry at {self._address} cannot be used: {said}")

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    @staticmethod
    def _why(error: Exception) -> str:
        return str(error) if isinstance(error, transport.TooLong) else transport.explain(error)


def _authorization(credentials: rest_utils.MlflowHostCreds) -> str | None:
    if credentials.username and credentials.password:
        login = f"{credentials.username}:{credentials.password}".encode()
        return f"Basic {base64.standard_b64encode(login).decode()}"
    if not credentials.token:
        return None
    if not (credentials.token.isascii() and credentials.token.isprintable()):
        raise errors.RegistryDenied(
            "the token of the registry holds a line break or a letter that no token has: correct MLFLOW_TRACKING_TOKEN "
            "in the Secret named in spec.model.registry.secretRef"
        )
    return f"Bearer {credentials.token}"


def _secrets(credentials: rest_utils.MlflowHostCreds, authorization: str | None) -> tuple[str, ...]:
    """What must not be repeated, the longest first; what is shorter than a word is no secret."""
    sent = [authorization.partition(" ")[2]] if authorization else []
    known = {*sent, credentials.username, credentials.password, credentials.token}
    return tuple(sorted((one for one in known if one and len(one) > 3), key=len, reverse=True))


def _as_prepared(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Authentication that adds nothing (its presence keeps .netrc out) and takes other registries' cookies away."""
    request.headers.pop("Cookie", None)
    return request


def _is_error_of_mlflow(content: bytes) -> bool:
    try:
        answer = json.loads(content)
    except ValueError:
        return False
    return isinstance(answer, dict) and isinstance(answer.get("error_code"), str)


def _printable(location: str) -> str:
    """A redirect's target without what may be secret in it."""
    try:
        return transport.address(location).uri
    except errors.Misconfigured:
        return "another path" if location.startswith("/") else "nowhere"
