"""What a download may do and take."""

from __future__ import annotations

from dataclasses import dataclass, field

from clipcli.errors import UsageError

MOST_AT_ONCE = 256
"""Downloads, each of which takes a thread and two of the process's open files."""


@dataclass(frozen=True)
class FetchOptions:
    """What a download may do and take.

    Attributes:
        allowed_hosts: `host` or `host:port`, lower case, that may have private addresses.
        max_bytes: of the body.
        connect_seconds: for one connection.
        read_seconds: for each wait for data.
        total_seconds: for one attempt, redirects included; only the look-up of a name may take
            longer, as long as the system lets it.
        retries: after connection errors, a body cut short, and the statuses that invite it.
        backoff_seconds: before the first retry; doubled each time.
        longest_wait_seconds: that a server may ask for with Retry-After.
        max_redirects: in one attempt.
        concurrency: downloads at once in all: the threads that call `Fetcher.fetch`.
        per_host: downloads at once from one host.
        proxy: `http(s)://[NAME:PASSWORD@]HOST[:PORT]` that everything is fetched through; its own
            address may be private. It resolves the names behind it, so that of these only literal
            addresses and `localhost` can be vetted here.

    Raises:
        UsageError: less than one download at once or more than `MOST_AT_ONCE`, an allowed host
            that is more than that (an address, say), or no address of a proxy.
    """

    allowed_hosts: frozenset[str] = frozenset()
    max_bytes: int = 50 * 1000 * 1000
    connect_seconds: float = 5.0
    read_seconds: float = 10.0
    total_seconds: float = 30.0
    retries: int = 2
    backoff_seconds: float = 0.5
    longest_wait_seconds: float = 30.0
    max_redirects: int = 5
    concurrency: int = 16
    per_host: int = 4
    proxy: str | None = field(default=None, repr=False)  # it may hold a password

    def __post_init__(self) -> None:
        # A host alone is a text, not its letters.
        hosts = [self.allowed_hosts] if isinstance(self.allowed_hosts, str) else self.allowed_hosts
        object.__setattr__(self, "allowed_hosts", frozenset(hosts))
        for what, number in (("in all", self.concurrency), ("from one host", self.per_host)):
            if number < 1:
                raise UsageError(f"downloads at once {what} must be 1 or more, not {number}")
            if number > MOST_AT_ONCE:
                most = f"at most {MOST_AT_ONCE}, not {number}"
                raise UsageError(f"downloads at once {what} must be {most}")
        for host in self.allowed_hosts:
            # It would never match, and be taken for permitted.
            if not host or set(host) & set("/@?#"):
                raise UsageError(f"{host!r} is no host to allow: give HOST or HOST:PORT alone")
        if self.proxy is not None:
            from clipcli.images.web.proxies import check_proxy  # hardly anyone has one

            check_proxy(self.proxy)

    def allows(self, host: str, port: int) -> bool:
        """Whether this host may have a private address; an IPv6 one comes without brackets."""
        host = host.lower()
        in_url = f"[{host}]" if ":" in host else host
        return not self.allowed_hosts.isdisjoint({host, in_url, f"{in_url}:{port}"})
