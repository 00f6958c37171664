"""The registry adapter against everything that is not a well-behaved MLflow: never more than a sentence, and soon."""

import asyncio
import json
import pathlib
import ssl
import subprocess
import time
from collections.abc import AsyncIterator

import pytest
from penstock import errors, ports
from penstock.adapters import mlflow_peers, mlflow_registry, mlflow_store
from penstock.api.v1alpha1.modeldeployment import ModelRef

from tests.adapters import servers
from tests.adapters.servers import http_answer

pytestmark = pytest.mark.adapters

ANYWHERE = mlflow_peers.Peers(forbidden=())
"""The servers of these tests listen on the loopback."""

MODEL = ModelRef(name="fraud", alias="champion")
SECRET = "hunter2-never-print-this"
QUICK = mlflow_registry.Limits(
    exchange=mlflow_store.Limits(connect_seconds=0.5, read_seconds=0.3, answer_bytes=100_000),
    total_seconds=3,
    threads=4,
    threads_per_registry=2,
)


@pytest.fixture
async def registry() -> AsyncIterator[mlflow_registry.Mlflow]:
    mlflow = mlflow_registry.Mlflow(QUICK, peers=ANYWHERE)
    yield mlflow
    mlflow.close()


def version(**fields: object) -> str:
    return json.dumps({"model_version": {"name": "fraud", "version": "3", "status": "READY", **fields}})


FOUND = http_answer("200 OK", version())

NOT_MLFLOW = ": check that the tracking URI leads to an MLflow server, any path prefix included"

ODD = {
    "a page": (
        http_answer("200 OK", "<html>hello</html>", "text/html"),
        f"its answer (200 OK) is not JSON{NOT_MLFLOW}",
    ),
    "a page that says not found": (
        http_answer("404 Not Found", "<html>no</html>", "text/html"),
        f"its answer (404 Not Found) is not JSON{NOT_MLFLOW}",
    ),
    "another program's not found": (
        http_answer("404 Not Found", '{"detail": "Not Found"}'),
        f"its answer (404 Not Found) is not an error of MLflow's{NOT_MLFLOW}",
    ),
    "an endpoint that MLflow does not have": (
        http_answer("404 Not Found", '{"error_code": "ENDPOINT_NOT_FOUND", "message": "no such endpoint"}'),
        "it answers no such endpoint",
    ),
    "a gateway without a server": (http_answer("502 Bad Gateway", "<html>", "text/html"), "it answers 502 Bad Gateway"),
    "a failing server": (
        http_answer("500 Internal Server Error", '{"error_code": "INTERNAL_ERROR", "message": "boom"}'),
        "it answers 500 Internal Server Error",
    ),
    "a busy server": (
        http_answer("429 Too Many Requests", "", "text/plain", "Retry-After: 3600"),
        "it answers 429 Too Many Requests",
    ),
    "a status nobody knows": (http_answer("599 What", ""), "it answers 599"),
    "a list": (http_answer("200 OK", "[1, 2]"), f"its answer (200 OK) is not a JSON object{NOT_MLFLOW}"),
    "nothing": (http_answer("200 OK", ""), f"its answer (200 OK) is not JSON{NOT_MLFLOW}"),
    "an object of another shape": (
        http_answer("200 OK", '{"model_version": 5}'),
        f"its answer (200 OK) does not have MLflow's shape{NOT_MLFLOW}",
    ),
    "an object of no shape": (
        http_answer("200 OK", "{}"),
        "it answers no version number for 'fraud': check that the tracking URI leads to an MLflow server",
    ),
    "a version that is no number": (
        http_answer("200 OK", version(version="three")),
        "it answers no version number for 'fraud': check that the tracking URI leads to an MLflow server",
    ),
    "bytes that are no text": (
        http_answer("200 OK", b"\xff\xfe\x00"),
        f"its answer (200 OK) is not JSON{NOT_MLFLOW}",
    ),
    "too much": (http_answer("200 OK", b" " * 200_000), "its answer is longer than 100000 bytes"),
    "too little": (FOUND[:-5], "its answer ended too early"),
    "no HTTP": (b"220 mail.example.org ESMTP\r\n", "it closed the connection or does not speak HTTP"),
    "a closed connection": (b"", "it closed the connection or does not speak HTTP"),
    "a redirect elsewhere": (
        http_answer("302 Found", "", "text/html", f"Location: https://u:{SECRET}@sso.example.org/login?token={SECRET}"),
        "it redirects to https://sso.example.org/login: make that the tracking URI",
    ),
    "a redirect to itself": (
        http_answer("301 Moved Permanently", "", "text/html", "Location: /api"),
        "it redirects to another path: make that the tracking URI",
    ),
}


@pytest.mark.parametrize(("answer", "why"), ODD.values(), ids=ODD.keys())
async def test_odd_answers_are_told_and_nothing_is_resolved(
    registry: mlflow_registry.Mlflow, answer: bytes, why: str
) -> None:
    async with servers.answering(answer) as peer:
        with pytest.raises(errors.RegistryUnavailable) as raised:
            await registry.resolve(ports.RegistryAddress(peer.url), MODEL)
    assert raised.value.message == f"the registry at {peer.url} cannot be used: {why}"


async def test_a_redirect_is_not_followed(registry: mlflow_registry.Mlflow) -> None:
    async with servers.answering(FOUND) as target:
        location = f"Location: {target.url}/api/2.0/mlflow/registered-models/alias"
        async with servers.answering(http_answer("307 Temporary Redirect", "", "text/html", location)) as peer:
            with pytest.raises(errors.RegistryUnavailable):
                await registry.resolve(ports.RegistryAddress(peer.url, ports.Credentials("a", SECRET)), MODEL)
        assert target.received == []


async def test_a_host_name_that_the_server_refuses_is_not_blamed_on_the_credentials(
    registry: mlflow_registry.Mlflow,
) -> None:
    said = b"Invalid Host header - possible DNS rebinding attack detected"
    async with servers.answering(http_answer("403 Forbidden", said, "text/plain")) as peer:
        with pytest.raises(errors.RegistryDenied, match=r"refuses this host name .* --allowed-hosts"):
            await registry.resolve(ports.RegistryAddress(peer.url, ports.Credentials("a", "b")), MODEL)


async def test_a_version_that_is_still_being_registered_is_waited_for(registry: mlflow_registry.Mlflow) -> None:
    async with servers.answering(http_answer("200 OK", version(status="PENDING_REGISTRATION"))) as peer:
        with pytest.raises(errors.RegistryUnavailable, match=r"version 3 of 'fraud' in .* is still being registered"):
            await registry.resolve(ports.RegistryAddress(peer.url), MODEL)


async def test_a_version_whose_registration_failed_does_not_exist(registry: mlflow_registry.Mlflow) -> None:
    async with servers.answering(http_answer("200 OK", version(status="FAILED_REGISTRATION"))) as peer:
        with pytest.raises(errors.VersionNotFound, match="register the model again"):
            await registry.resolve(ports.RegistryAddress(peer.url), MODEL)


async def test_a_connection_that_breaks_once_is_tried_again(registry: mlflow_registry.Mlflow) -> None:
    async with servers.answering(b"", FOUND) as peer:
        found = await registry.resolve(ports.RegistryAddress(peer.url), MODEL)
    assert (found, peer.requests) == (ports.ModelVersion("fraud", 3), 2)


async def test_nobody_there(registry: mlflow_registry.Mlflow) -> None:
    url = f"http://127.0.0.1:{servers.free_port()}"
    with pytest.raises(errors.RegistryUnavailable) as raised:
        await registry.resolve(ports.RegistryAddress(url), MODEL)
    assert raised.value.message == f"the registry at {url} cannot be used: connection refused"


async def test_a_name_that_does_not_resolve(registry: mlflow_registry.Mlflow) -> None:
    # whether a name server says so, or there is none that answers
    why = "cannot be used: (its host name cannot be resolved|no answer within)"
    with pytest.raises(errors.RegistryUnavailable, match=why):
        await registry.resolve(ports.RegistryAddress("http://mlflow.invalid:5000"), MODEL)


@pytest.mark.parametrize("uri", ["sqlite:///mlflow.db", "databricks", f"http://u:{SECRET}@h:port"])
async def test_an_address_that_is_none(registry: mlflow_registry.Mlflow, uri: str) -> None:
    for asked in (
        registry.resolve(ports.RegistryAddress(uri), MODEL),
        registry.tag(ports.RegistryAddress(uri), ports.ModelVersion("fraud", 1), {"a": "b"}),
    ):
        with pytest.raises(errors.Misconfigured) as raised:
            await asked
        assert SECRET not in raised.value.message


async def test_a_server_that_never_answers_costs_seconds(registry: mlflow_registry.Mlflow) -> None:
    async with servers.silent() as peer:
        started = time.monotonic()
        with pytest.raises(errors.RegistryUnavailable, match=r"no answer (in time|within 3 s)"):
            await registry.resolve(ports.RegistryAddress(peer.url), MODEL)
        assert time.monotonic() - started < 5


async def test_a_server_that_hangs_keeps_nobody_from_another(registry: mlflow_registry.Mlflow) -> None:
    async with servers.silent() as hung, servers.answering(FOUND) as good:
        waiting = [
            asyncio.create_task(registry.resolve(ports.RegistryAddress(hung.url), ModelRef(name=f"m{n}", version=1)))
            for n in range(30)
        ]
        assert await registry.resolve(ports.RegistryAddress(good.url), MODEL) == ports.ModelVersion("fraud", 3)
        assert not all(task.done() for task in waiting)
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(answer) for answer in answers} == {errors.RegistryUnavailable}


async def test_an_answer_that_comes_in_drops_is_not_waited_for(registry: mlflow_registry.Mlflow) -> None:
    async def dripping(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: servers.Peer) -> None:
        writer.write(FOUND[:-40])
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.2)

    async with servers.listening(dripping) as peer:
        started = time.monotonic()
        with pytest.raises(errors.RegistryUnavailable):
            await registry.resolve(ports.RegistryAddress(peer.url), MODEL)
        assert time.monotonic() - started < 8


async def test_cookies_of_one_registry_are_not_sent_for_another(registry: mlflow_registry.Mlflow) -> None:
    answer = http_answer("200 OK", version(), "application/json", "Set-Cookie: session=of-ann; Path=/")
    async with servers.answering(answer) as peer:
        for credentials in (ports.Credentials("ann", "a"), ports.Credentials("bob", "b"), ports.Credentials()):
            await registry.resolve(ports.RegistryAddress(peer.url, credentials), MODEL)
    assert [b"of-ann" in request for request in peer.received] == [False] * 3
    assert [b"Authorization: Basic" in request for request in peer.received] == [True, True, False]


async def test_a_token_is_sent_as_bearer(registry: mlflow_registry.Mlflow) -> None:
    async with servers.answering(FOUND) as peer:
        await registry.resolve(ports.RegistryAddress(peer.url, ports.Credentials(token="abc")), MODEL)
    assert b"Authorization: Bearer abc\r\n" in peer.received[0]


async def test_nothing_secret_is_ever_said(registry: mlflow_registry.Mlflow, caplog: pytest.LogCaptureFixture) -> None:
    """Every way to fail above, with a password in the address and one in the Secret."""
    caplog.set_level(0)
    said: list[str] = []
    for answer in (
        *(answer for answer, _ in ODD.values()),
        http_answer("401 Unauthorized"),
        http_answer("403 Forbidden"),
    ):
        async with servers.answering(answer) as peer:
            for address in (
                ports.RegistryAddress(peer.url.replace("://", f"://ann:{SECRET}@")),
                ports.RegistryAddress(peer.url, ports.Credentials("ann", SECRET, SECRET)),
            ):
                for asked in (
                    registry.resolve(address, MODEL),
                    registry.tag(address, ports.ModelVersion("fraud", 1), {"a": "b"}),
                ):
                    try:
                        await asked
                    except errors.PenstockError as error:
                        link: BaseException | None = error
                        while link is not None:
                            said.append(f"{link!r} {link}")
                            link = link.__cause__ or link.__context__
                said.append(repr(address.credentials))
    assert len(said) > 80
    assert not [words for words in [*said, *caplog.messages] if SECRET in words]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A certificate, and its key, that nobody vouches for."""
    file = tmp_path_factory.mktemp("tls") / "pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            file,
            "-out",
            f"{file}.crt",
        ],
        check=True,
        capture_output=True,
    )
    file.write_text(file.read_text() + pathlib.Path(f"{file}.crt").read_text())
    return file


async def test_a_certificate_that_is_not_trusted(registry: mlflow_registry.Mlflow, certificate: pathlib.Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(errors.RegistryUnavailable, match=r"its TLS certificate is not trusted \(self.signed cert"):
            await registry.resolve(ports.RegistryAddress(url), MODEL)


async def test_https_spoken_to_a_server_of_http(registry: mlflow_registry.Mlflow) -> None:
    async def puzzled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: servers.Peer) -> None:
        await reader.read(65536)
        writer.write(http_answer("400 Bad Request"))
        await writer.drain()

    async with servers.listening(puzzled) as peer:
        with pytest.raises(errors.RegistryUnavailable, match="TLS failed"):
            await registry.resolve(ports.RegistryAddress(peer.url.replace("http", "https")), MODEL)


async def test_answers_kept_are_bounded() -> None:
    registry = mlflow_registry.Mlflow(mlflow_registry.Limits(entries=2), peers=ANYWHERE)
    async with servers.answering(FOUND) as peer:
        address = ports.RegistryAddress(peer.url)
        for name in ("a", "b", "c", "c", "a"):
            await registry.resolve(address, ModelRef(name=name, alias="champion", poll_seconds=3600))
    registry.close()
    assert peer.requests == 4
