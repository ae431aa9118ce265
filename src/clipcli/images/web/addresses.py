"""Which network addresses are the public internet's."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

# What `is_global` lets through in some Python versions, though it leads to no public host.
_NEVER_PUBLIC = tuple(
    ip_network(network)
    for network in (
        "192.0.0.0/24",  # IETF protocol assignments (RFC 6890)
        "192.88.99.0/24",  # relays of 6to4, withdrawn (RFC 7526)
        "fec0::/10",  # site-local (RFC 3879)
        "64:ff9b:1::/48",  # NAT64 for local use (RFC 8215)
        "3fff::/20",  # documentation (RFC 9637)
        "100:0:0:1::/64",  # dummy (RFC 9780)
        "2001:10::/28",  # hashes in the shape of addresses (RFC 4843)
        "2001:20::/28",  # likewise (RFC 7343)
        "5f00::/16",  # segments of a route (RFC 9602)
        "2001::/32",  # Teredo (RFC 4380): an IPv4 address inside, disguised
    )
)
_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052
_IPV4_COMPATIBLE = ip_network("::/96")  # RFC 4291, section 2.5.5.1
# No top-level domain is a number: what ends in one is an IPv4 address in some spelling.
_ENDS_IN_A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.DOTALL)


def is_public(address: str) -> bool:
    """Whether an IP address is reachable on the public internet and nowhere else.

    An IPv4 address inside an IPv6 one (mapped, compatible, NAT64, 6to4) is judged in its place.
    """
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        ip = _embedded(ip) or ip
    return (
        ip.is_global
        and not ip.is_multicast
        and not ip.is_reserved
        and not any(ip in network for network in _NEVER_PUBLIC)
    )


def names_private_host(host: str) -> bool:
    """Whether the name of a host, unresolved, says that it is not on the public internet.

    That is a literal address that is not public, `localhost`, or a number in a spelling
    (`0x7f.1`, `010.0.0.1`) that one resolver takes for this address and another for that.
    """
    host = host.rstrip(".").lower()
    try:
        return not is_public(host)
    except ValueError:
        is_local = host == "localhost" or host.endswith(".localhost")  # RFC 6761, section 6.3
        return is_local or _ENDS_IN_A_NUMBER.fullmatch(host) is not None


def _embedded(ip: IPv6Address) -> IPv4Address | None:
    if ip.ipv4_mapped or ip.sixtofour:
        return ip.ipv4_mapped or ip.sixtofour
    if ip in _NAT64 or ip in _IPV4_COMPATIBLE:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return None
