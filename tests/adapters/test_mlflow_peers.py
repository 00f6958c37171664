"""Whom the operator does not call for anybody: judged by the address that is connected to, with real sockets."""

import asyncio
import json
import pathlib
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator

import pytest
from penstock import errors, ports
from penstock.adapters import mlflow_peers, mlflow_registry, mlflow_store
from penstock.api.v1alpha1.modeldeployment import ModelRef

from tests.adapters import servers
from tests.adapters.servers import http_answer

pytestmark = pytest.mark.adapters

MODEL = ModelRef(name="fraud", alias="champion")
FOUND = http_answer("200 OK", json.dumps({"model_version": {"name": "fraud", "version": "3", "status": "READY"}}))
OWN = (
    "the operator's own pod, its node or the metadata of their cloud; name the registry's Service, or another host "
    "that pods can reach, in spec.model.registry.trackingURI"
)
QUICK = mlflow_registry.Limits(exchange=mlflow_store.Limits(connect_seconds=0.5, read_seconds=2))


async def asked(uri: str, peers: mlflow_peers.Peers = mlflow_peers.STRANGERS) -> ports.ModelVersion:
    registry = mlflow_registry.Mlflow(QUICK, peers=peers)
    try:
        return await registry.resolve(ports.RegistryAddress(uri, ports.Credentials("ann", "secret")), MODEL)
    finally:
        registry.close()


FORBIDDEN = {
    "the metadata of most clouds": "169.254.169.254",
    "the metadata of a pod": "169.254.170.23",
    "EC2's over IPv6": "[fd00:ec2::254]",
    "Google's over IPv6": "[fd20:ce::254]",
    "Alibaba's": "100.100.100.200",
    "Oracle's": "192.0.0.192",
    "Azure's agent": "168.63.129.16",
    "the link": "[fe80::1]",
    "the loopback": "127.0.0.1",
    "another loopback": "127.8.9.10",
    "the loopback over IPv6": "[::1]",
    "no address": "0.0.0.0",
    "no address over IPv6": "[::]",
    "IPv4 within IPv6": "[::ffff:169.254.169.254]",
    "IPv4 at the end of IPv6": "[::7f00:1]",
    "IPv4 by translation": "[64:ff9b::a9fe:a9fe]",
    "IPv4 by 6to4": "[2002:a9fe:a9fe::1]",
    "everybody": "255.255.255.255",
    "a group": "224.0.0.1",
}


@pytest.mark.parametrize("host", FORBIDDEN.values(), ids=FORBIDDEN.keys())
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_address_of_the_operators_own_surroundings_is_not_called(host: str, scheme: str) -> None:
    with pytest.raises(errors.Misconfigured) as raised:
        await asked(f"{scheme}://{host}:80")
    message = raised.value.message
    assert message.startswith(f"the registry at {scheme}://{host}:80 is not called: its host ")
    assert message.endswith(OWN)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("localhost", id="a name"),
        pytest.param("localhost.", id="a name with its dot"),
        pytest.param("2130706433", id="a number"),
        pytest.param("0x7f000001", id="a number in hexadecimal"),
        pytest.param("0177.0.0.1", id="octal"),
        pytest.param("127.1", id="shortened"),
        pytest.param("①②⑦.⓪.⓪.①", id="other digits"),
    ],
)
async def test_no_spelling_of_the_loopback_reaches_it(host: str) -> None:
    async with servers.answering(FOUND) as peer:
        port = peer.url.rpartition(":")[2]
        with pytest.raises(errors.PenstockError, match=r"is not called: its host|cannot be used"):
            await asked(f"http://{host}:{port}")
    assert peer.received == []


async def test_a_name_is_refused_for_what_it_resolves_to() -> None:
    with pytest.raises(errors.Misconfigured) as raised:
        await asked("http://localhost:5000")
    found = {info[4][0] for info in socket.getaddrinfo("localhost", 5000, type=socket.SOCK_STREAM)}
    said = {
        f"the registry at http://localhost:5000 is not called: its host resolves to {address}, which is {OWN}"
        for address in found
    }
    assert raised.value.message in said


class Once(mlflow_peers.Peers):
    """A name that resolved once, when it was judged, and to nothing ever after."""

    def addresses(self, host: str, port: int) -> tuple[str, ...]:  # noqa: ARG002
        return ("127.0.0.1",)


async def test_the_judged_address_is_connected_to_and_the_name_is_not_looked_up_again() -> None:
    async with servers.answering(FOUND) as peer:
        port = int(peer.url.rpartition(":")[2])
        assert await asked(f"http://rebound.invalid:{port}", Once()) == ports.ModelVersion("fraud", 3)
    (request,) = peer.received
    assert f"Host: rebound.invalid:{port}\r\n".encode() in request


async def test_what_the_installation_names_itself_is_not_questioned_and_its_neighbours_are() -> None:
    async with servers.answering(FOUND) as peer, servers.answering(FOUND) as neighbour:
        peers = mlflow_peers.Peers(trusted=frozenset({mlflow_peers.place(peer.url)}), allowed_hosts=("mlflow.example",))
        assert await asked(peer.url, peers) == ports.ModelVersion("fraud", 3)
        with pytest.raises(errors.Misconfigured):
            await asked(neighbour.url, peers)
    assert neighbour.received == []


ALLOWED = ("127.0.0.1", "*.corp.example", "mlflow.ml.svc")


@pytest.mark.parametrize("host", ["mlflow.example", "corp.example", "127.0.0.2", "mlflow.ml.svc.evil.example", "[::1]"])
async def test_only_allowed_hosts_are_called(host: str) -> None:
    with pytest.raises(errors.Misconfigured) as raised:
        await asked(f"http://{host}:5000", mlflow_peers.Peers(ALLOWED))
    assert raised.value.message == (
        f"the registry at http://{host}:5000 is not called: its host is not among those that this installation allows "
        "(127.0.0.1, *.corp.example, mlflow.ml.svc); name one of them in spec.model.registry.trackingURI, or have it "
        "added to the chart's registry.allowedHosts"
    )


async def test_an_allowed_address_is_called_wherever_it_lies() -> None:
    async with servers.answering(FOUND) as peer:
        assert await asked(peer.url, mlflow_peers.Peers(ALLOWED)) == ports.ModelVersion("fraud", 3)


async def test_an_allowed_name_is_still_judged_by_its_address() -> None:
    with pytest.raises(errors.Misconfigured, match="its host resolves to"):
        await asked("http://localhost:5000", mlflow_peers.Peers(("local*",)))


@pytest.mark.parametrize(
    ("host", "glob"),
    [("Mlflow.Corp.Invalid", "*.corp.invalid"), ("a.b.corp.invalid.", "*.CORP.invalid")],
    ids=["no case", "no final dot, and any depth"],
)
async def test_globs_know(host: str, glob: str) -> None:
    with pytest.raises(errors.RegistryUnavailable):  # allowed, but there is no such host
        await asked(f"http://{host}:5000", mlflow_peers.Peers((glob,)))


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[servers.Peer]:
    """A proxy as an installation sets it, in the environment; it answers for everybody."""
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with servers.answering(FOUND, FOUND) as peer:
        monkeypatch.setenv("http_proxy", peer.url)
        yield peer


async def test_a_proxy_is_asked_for_strangers(proxy: servers.Peer) -> None:
    assert await asked("http://mlflow.invalid:5000") == ports.ModelVersion("fraud", 3)
    assert proxy.received[0].startswith(b"GET http://mlflow.invalid:5000/api/2.0/")


@pytest.mark.parametrize("host", ["169.254.169.254", "2130706433", "[::ffff:127.0.0.1]"])
async def test_a_proxy_is_not_asked_for_what_must_not_be_called(proxy: servers.Peer, host: str) -> None:
    with pytest.raises(errors.Misconfigured, match="is not called"):
        await asked(f"http://{host}:5000")
    assert proxy.received == []


@pytest.fixture
def certificate(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with the certificate `crt` of localhost and its `key`."""
    made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost -addext"
    files = ("-keyout", tmp_path / "key", "-out", tmp_path / "crt")
    subprocess.run(["openssl", *made.split(), "subjectAltName=DNS:localhost", *files], check=True, capture_output=True)
    return tmp_path


async def test_a_certificate_is_held_against_the_name_and_not_the_address(
    certificate: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "crt", certificate / "key")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(FOUND)
        await writer.drain()
        writer.close()

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate / "crt"))
    anywhere = mlflow_peers.Peers(forbidden=())
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        assert await asked(f"https://localhost:{port}", anywhere) == ports.ModelVersion("fraud", 3)
        with pytest.raises(errors.RegistryUnavailable, match="its TLS certificate is not trusted"):
            await asked(f"https://127.0.0.1:{port}", anywhere)
