import pytest

from clipcli.images.web.addresses import is_public, names_private_host

PRIVATE = {
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"],
    "carrier-grade NAT": ["100.64.0.1", "100.127.255.255"],
    "link-local": ["169.254.169.254", "fe80::1", "fe80::1%eth0", "febf::1"],
    "relays of 6to4": ["192.88.99.1", "192.88.99.255", "2002:c058:6301::1"],
    "hashes and routes": ["2001:10::1", "2001:20::1", "5f00:1::1", "100:0:0:1::1"],
    "protocol assignments": ["192.0.0.1", "192.0.0.8", "192.0.0.170", "2001:2::1"],
    "documentation": ["192.0.2.1", "198.51.100.7", "203.0.113.9", "2001:db8::1", "3fff::1"],
    "benchmarking": ["198.18.0.1", "198.19.255.255"],
    "multicast": ["224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1"],
    "reserved": ["240.0.0.1", "255.255.255.255", "4000::1", "5f00::1", "100::1"],
    "unique local": ["fc00::1", "fd12:3456:789a::1"],
    "site-local": ["fec0::1", "feff::1"],
    "IPv4-mapped": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"],
    "IPv4-compatible": ["::127.0.0.1", "::192.168.0.1"],
    "IPv4-translated": ["::ffff:0:127.0.0.1"],
    "NAT64": ["64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b:1::8.8.8.8"],
    "6to4": ["2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:e000:1::"],
    "Teredo": ["2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"],
}
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.215.14",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "198.17.255.255",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80b::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]


@pytest.mark.parametrize(
    ("kind", "address"), [(kind, address) for kind in PRIVATE for address in PRIVATE[kind]]
)
def test_an_address_of_a_special_range_is_not_public(kind, address):
    assert not is_public(address), kind


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_an_ordinary_host_is_public(address):
    assert is_public(address)


def test_what_is_no_address_is_an_error_rather_than_an_answer():
    with pytest.raises(ValueError, match="not-an-address"):
        is_public("not-an-address")


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "10.0.0.1", "::1", "fe80::1%eth0"),
        *("localhost", "LocalHost.", "cat.localhost"),
        # Addresses to some resolvers; not to all of them the same one.
        *(
            "2130706433",
            "127.1",
            "0177.0.0.1",
            "010.8.8.8",
            "0x7f000001",
            "127.0x1",
            "0X7F.1",
            "0x",
        ),
        *("127.0.0.1.", "8.8.8.08", "1.2.3.4.5"),
    ],
)
def test_a_name_that_leads_to_no_public_host_is_known_unresolved(host):
    assert names_private_host(host)


@pytest.mark.parametrize(
    "host",
    [
        *("8.8.8.8", "8.8.8.8.", "2606:4700:4700::1111", "example.com", "example.com."),
        *("localhost.com", "1.example", "0x7f.example", "x0x7f", "xn--bcher-kva.example"),
    ],
)
def test_another_name_is_for_who_resolves_it(host):
    assert not names_private_host(host)
