"""Which hosts the operator calls because somebody wrote them into a spec: never its own pod, its node or their cloud.

A name is judged when it is connected to, by every address that it has at that moment, and a judged address is the one
that is connected to: a name that means something else a moment later gains nothing. What the installation itself names
as its registry is not questioned.
"""

import fnmatch
import ipaddress
import socket
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import requests
import requests.adapters
import requests.utils
import urllib3
from urllib3 import connection, connectionpool, exceptions

from penstock.adapters import transport

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

FORBIDDEN: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        # this host, and whoever is meant by no address
        *("127.0.0.0/8", "::1/128", "0.0.0.0/8", "::/128"),
        # the link: nearly every cloud's metadata, with the credentials of the node or pod
        *("169.254.0.0/16", "fe80::/10"),
        # metadata elsewhere: EC2, Google, Scaleway, Alibaba, Oracle, and Azure's agent
        *("fd00:ec2::/64", "fd20:ce::254/128", "fd00:42::42/128"),
        *("100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32"),
        # no single host
        *("224.0.0.0/4", "240.0.0.0/4", "ff00::/8"),
    )
)

_TRANSLATED: tuple[ipaddress.IPv6Network, ...] = (
    ipaddress.IPv6Network("64:ff9b::/96"),
    ipaddress.IPv6Network("64:ff9b:1::/48"),
    ipaddress.IPv6Network("::/96"),
)
"""An address in these ends with one of IPv4."""

_MOST_ADDRESSES = 4
_RETRY = urllib3.Retry(
    total=1, connect=1, read=1, redirect=0, status=0, backoff_factor=0, allowed_methods=None, raise_on_status=False
)


class Refused(Exception):
    """A host that is not called; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Peers:
    """Whom a registry's address may lead to."""

    allowed_hosts: tuple[str, ...] = ()
    """Globs over host names; none: any host. A literal address in full is allowed wherever it lies."""
    trusted: frozenset[tuple[str, int]] = frozenset()
    """Hosts and ports that are not questioned."""
    forbidden: tuple[Network, ...] = FORBIDDEN

    def addresses(self, host: str, port: int) -> tuple[str, ...]:
        """What a host resolves to, each address judged, best first.

        Raises:
            Refused: it must not be called.
            OSError: it cannot be resolved (a socket.gaierror).
        """
        name = _plain(host)
        if not (trusted := (name, port) in self.trusted):
            self._judge_name(name)
        found = dict.fromkeys(str(known[4][0]) for known in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        if not trusted:
            for address in found:
                self._judge_address(name, ipaddress.ip_address(address))
        return tuple(found)[:_MOST_ADDRESSES]

    def judge_behind_proxy(self, host: str, port: int) -> None:
        """Judge a host that a proxy resolves and connects to: what is known of it here. Raises Refused."""
        try:
            self.addresses(host, port)
        except (OSError, UnicodeError):
            return  # names of the outside may be known to the proxy only

    def _judge_name(self, name: str) -> None:
        allowed = [_plain(glob) for glob in self.allowed_hosts]
        if allowed and not any(fnmatch.fnmatchcase(name, glob) for glob in allowed):
            raise Refused(
                f"its host is not among those that this installation allows ({', '.join(self.allowed_hosts)}); name "
                "one of them in spec.model.registry.trackingURI, or have it added to the chart's registry.allowedHosts"
            )

    def _judge_address(self, name: str, address: Address) -> None:
        if name == str(address) and name in self.allowed_hosts:
            return
        if any(
            one in network for one in _meant(address) for network in self.forbidden if one.version == network.version
        ):
            which = "its host" if name == str(address) else f"its host resolves to {address}, which"
            raise Refused(
                f"{which} is the operator's own pod, its node or the metadata of their cloud; name the registry's "
                "Service, or another host that pods can reach, in spec.model.registry.trackingURI"
            )


STRANGERS = Peers()
"""Whom everybody may name."""


def place(uri: str) -> tuple[str, int]:
    """Host and port of an address, as `Peers.trusted` has them. Raises Misconfigured."""
    parts = urllib.parse.urlsplit(transport.address(uri).uri)
    return _plain(parts.hostname or ""), parts.port or {"http": 80, "https": 443}[parts.scheme]


def session(peers: Peers) -> requests.Session:
    """A session for requests to registries: judged connections, one retry, and no cookie that is kept."""
    made = requests.Session()
    adapter = _Adapter(peers)
    made.mount("http://", adapter)
    made.mount("https://", adapter)
    return made


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _meant(address: Address) -> Iterator[Address]:
    """The address, and those of IPv4 that packets to it may end at."""
    yield address
    if isinstance(address, ipaddress.IPv4Address):
        return
    for inner in (address.ipv4_mapped, address.sixtofour, *(address.teredo or ())):
        if inner is not None:
            yield inner
    if any(address in network for network in _TRANSLATED):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


class _Adapter(requests.adapters.HTTPAdapter):
    """Connects to judged addresses only. A proxy is the installation's own, and is connected to as it is."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        super().__init__(max_retries=_RETRY, pool_connections=64)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _pools(self._peers)

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: Any,
        proxies: Mapping[str, str] | None = None,
        cert: Any = None,
    ) -> Any:
        if requests.utils.select_proxy(request.url or "", proxies):
            self._peers.judge_behind_proxy(*place(request.url or ""))
        return super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)


def _pools(peers: Peers) -> dict[str, type[connectionpool.HTTPConnectionPool]]:
    class Connection(connection.HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(peers, self, super()._new_conn)

    class SecureConnection(connection.HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(peers, self, super()._new_conn)

    class Pool(connectionpool.HTTPConnectionPool):
        ConnectionCls = Connection

    class SecurePool(connectionpool.HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    return {"http": Pool, "https": SecurePool}


def _connected(peers: Peers, made: connection.HTTPConnection, connect: Callable[[], socket.socket]) -> socket.socket:
    """A socket to a judged address; the connection goes by its name in all else: the Host header, the certificate."""
    name = made._dns_host  # noqa: SLF001  # what urllib3 connects to, apart from what it calls the host
    try:
        addresses = peers.addresses(name, made.port)
    except (socket.gaierror, UnicodeError) as error:
        reason = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
        raise exceptions.NameResolutionError(made.host, made, reason) from error
    failure: exceptions.HTTPError | None = None
    try:
        for address in addresses:
            made._dns_host = address  # noqa: SLF001
            try:
                return connect()
            except (exceptions.NewConnectionError, exceptions.ConnectTimeoutError) as error:
                failure = error
    finally:
        made._dns_host = name  # noqa: SLF001
    raise failure or exceptions.NewConnectionError(made, "its host name has no address")
