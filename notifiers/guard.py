"""Where a message may be sent: the guard against addresses that lead back into the house (SSRF).

An address is parsed once, by the same parser whose result is used for connecting, so two parsers cannot disagree about
the host. The name is resolved once; *all* its addresses are vetted, and the connection goes to a vetted address, so a
second DNS answer (rebinding) is never asked for.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TypeAlias

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from huiying.domain.sentences import said, term
from notifiers.sockets import SocketAddress

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
#: ``resolve(host, port, timeout)``; raises OSError (TimeoutError among them) when there is no answer.
Resolve: TypeAlias = Callable[[str, int, float], Sequence[SocketAddress]]

_LOOPBACK = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "::1/128")))

# Internal networks: closed unless the channel's configuration opens them by CIDR.
_PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15", "fc00::/7"),
    )
)

# Never, whatever the configuration says. ipaddress.is_private is no help: in Python 3.11 it lets 100.64/10 (with
# Aliyun's metadata service), NAT64 and 6to4 forms of loopback, and 192.0.0.192 (Oracle's metadata) through.
_NEVER: tuple[tuple[Network, str], ...] = tuple(
    (ipaddress.ip_network(cidr), why)
    for cidr, why in (
        ("0.0.0.0/8", "本网络地址"),
        ("169.254.0.0/16", "链路本地地址（含云主机元数据服务）"),
        ("100.100.100.200/32", "云主机元数据服务"),
        ("192.0.0.0/24", "保留地址（含云主机元数据服务）"),
        ("168.63.129.16/32", "云平台内部服务"),
        ("192.0.2.0/24", "文档示例地址"),
        ("198.51.100.0/24", "文档示例地址"),
        ("203.0.113.0/24", "文档示例地址"),
        ("192.88.99.0/24", "6to4 中继地址"),
        ("224.0.0.0/4", "组播地址"),
        ("240.0.0.0/4", "保留或广播地址"),
        ("::/96", "未指定或 IPv4 兼容地址"),
        ("::ffff:0:0/96", "IPv4 映射地址"),
        ("::ffff:0:0:0/96", "IPv4 转换地址"),
        ("64:ff9b::/96", "NAT64 地址"),
        ("64:ff9b:1::/48", "NAT64 地址"),
        ("100::/64", "丢弃地址"),
        ("2001::/23", "Teredo 等协议保留地址"),
        ("2001:db8::/32", "文档示例地址"),
        ("2002::/16", "6to4 地址"),
        ("3fff::/20", "文档示例地址"),
        ("5f00::/16", "SRv6 保留地址"),
        ("fd00:ec2::/32", "云主机元数据服务"),
        ("fd20:ce::/32", "云主机元数据服务"),
        ("fe80::/10", "链路本地地址"),
        ("fec0::/10", "站点本地地址"),
        ("ff00::/8", "组播地址"),
    )
)
_GLOBAL_V6 = ipaddress.ip_network("2000::/3")

_FORBIDDEN_CHARACTERS = re.compile(r"[\x00-\x20\x7f\\<>\"^`{|}]")


class BadAddress(ValueError):
    """The address cannot be used at all; the message is a Chinese sentence without the address's secrets."""


class Blocked(Exception):
    """The name leads to an address that this channel must not reach. Deliberately no OSError: nothing may retry it."""


@dataclass(frozen=True, slots=True, repr=False)
class Target:
    """A parsed address. ``path`` includes the query and is secret with most vendors, so ``repr`` leaves it out."""

    scheme: str
    host: str
    port: int
    path: str

    def __repr__(self) -> str:
        return f"Target({self.origin}/…)"

    @property
    def authority(self) -> str:
        """Host and port as they stand in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == (443 if self.scheme == "https" else 80)
        return host if usual else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port: all that a log may show."""
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        """The whole address in canonical form."""
        return self.origin + self.path


def parse_target(address: str) -> Target:
    """Read a user's address strictly, or say in Chinese what is wrong with it."""
    if not address or len(address) > 2048:
        raise BadAddress("地址为空或过长（上限 2048 个字符）。")
    if _FORBIDDEN_CHARACTERS.search(address):
        raise BadAddress("地址含有空白、反斜杠或控制字符。")
    try:
        parsed = parse_url(address)
    except LocationParseError:
        raise BadAddress("地址格式不正确。") from None
    if parsed.scheme not in {"http", "https"}:
        raise BadAddress("地址必须以 https:// 或 http:// 开头。")
    if parsed.auth is not None or "@" in (parsed.netloc or ""):
        raise BadAddress("地址中不得包含用户名或口令。")
    if parsed.fragment is not None:
        raise BadAddress("地址中不得包含 # 片段。")
    host = (parsed.host or "").strip("[]").rstrip(".")
    if not host or "%" in host or not host.isascii():
        raise BadAddress("地址中的主机名不正确。")
    port = parsed.port if parsed.port is not None else (443 if parsed.scheme == "https" else 80)
    if not 0 < port < 65536:
        raise BadAddress("地址中的端口不正确。")
    return Target(parsed.scheme, host.lower(), port, parsed.request_uri)


@dataclass(frozen=True, slots=True)
class Guard:
    """Which addresses a channel may reach.

    ``allow_cidrs`` opens internal networks (government networks use 10/8 throughout); loopback, link-local, metadata
    and translated forms stay closed even then. ``allow_loopback`` is the process-wide switch of tests, bench and
    sandbox; it is handed in by the wiring and opens loopback only.
    """

    allow_cidrs: tuple[Network, ...] = ()
    allow_loopback: bool = False

    def refusal(self, address: str) -> str:
        """Why this IP address is refused (Chinese), or an empty string."""
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return "无法识别的地址"
        if "%" in address:
            return "带区域标识的地址"
        if _inside(ip, _LOOPBACK):
            return "" if self.allow_loopback else "本机回环地址"
        for network, why in _NEVER:
            if ip in network:
                return why
        if _inside(ip, self.allow_cidrs):
            return ""
        if _inside(ip, _PRIVATE):
            return "内部网络地址（未在 allow_cidrs 中放行）"
        if ip.version == 6 and ip not in _GLOBAL_V6:
            return "非全球单播地址"
        return ""

    def is_inside_house(self, address: str) -> bool:
        """Tell whether this address is loopback or a network the configuration opened."""
        ip = ipaddress.ip_address(address.partition("%")[0])
        return _inside(ip, _LOOPBACK) or _inside(ip, self.allow_cidrs)

    def vet(self, scheme: str, addresses: Sequence[SocketAddress]) -> None:
        """Raise Blocked unless every one of the addresses may be reached."""
        for _, sockaddr in addresses:
            why = self.refusal(str(sockaddr[0]))
            if why:
                raise Blocked(said("地址被安全策略拒绝：%(why)s。", why=term(why)))
            if scheme == "http" and not self.is_inside_house(str(sockaddr[0])):
                raise Blocked("公网地址必须使用 https://。")


def parse_cidrs(values: Iterable[str]) -> tuple[Network, ...]:
    """Read ``allow_cidrs``; raises ValueError with a Chinese sentence for one that opens nothing or too much."""
    networks: list[Network] = []
    for value in values:
        try:
            network: Network = ipaddress.ip_network(value)
        except ValueError:
            raise ValueError(
                said("allow_cidrs 中的 %(value)s 不是正确的网段（例：10.20.0.0/16）。", value=value)
            ) from None
        if network.prefixlen == 0:
            raise ValueError(said("allow_cidrs 不能放行全部地址（%(value)s）。", value=value))
        networks.append(network)
    return tuple(networks)


def _inside(ip: IPAddress, networks: Iterable[Network]) -> bool:
    return any(ip in network for network in networks)


class SystemResolver:
    """``getaddrinfo`` with a timeout (it has none of its own) and a short memory.

    A lookup that hangs is abandoned in its daemon thread; at most ``most_hanging`` may hang before further ones are
    refused at once, so a dead name server cannot fill the process with threads.
    """

    def __init__(self, remember_seconds: float = 30.0, most_hanging: int = 32) -> None:
        self._remember = remember_seconds
        self._memory: dict[tuple[str, int], tuple[float, tuple[SocketAddress, ...]]] = {}
        self._slots = threading.BoundedSemaphore(most_hanging)

    def __call__(self, host: str, port: int, timeout: float) -> Sequence[SocketAddress]:
        literal = _literal(host, port)
        if literal:
            return literal
        known = self._memory.get((host, port))
        if known is not None and known[0] > monotonic():
            return known[1]
        found = self._look_up(host, port, timeout)
        if len(self._memory) > 1024:
            self._memory.clear()
        self._memory[host, port] = (monotonic() + self._remember, found)
        return found

    def _look_up(self, host: str, port: int, timeout: float) -> tuple[SocketAddress, ...]:
        if not self._slots.acquire(blocking=False):
            raise OSError("too many name lookups are hanging")
        answer: list[tuple[SocketAddress, ...] | OSError] = []
        done = threading.Event()

        def ask() -> None:
            try:
                rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                answer.append(tuple((row[0], row[4]) for row in rows))
            except OSError as error:
                answer.append(error)
            except UnicodeError:
                answer.append(OSError("not a host name"))
            finally:
                self._slots.release()
                done.set()

        threading.Thread(target=ask, name="resolver", daemon=True).start()
        if not done.wait(timeout):
            raise TimeoutError("name lookup timed out")
        found = answer[0]
        if isinstance(found, OSError):
            raise found
        if not found:
            raise OSError("no address")
        return found


def _literal(host: str, port: int) -> tuple[SocketAddress, ...]:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return ()
    if ip.version == 4:
        return ((socket.AF_INET, (host, port)),)
    return ((socket.AF_INET6, (host, port, 0, 0)),)
