"""How much sooner many downloads end when they run at once, beside one after another.

    python -m benchmarks.fetching [--rounds 3] [--urls 300] [--latency 50]

A server in a process of its own answers each request with an example photo after so many
milliseconds, all from one host, whose limit is raised to all downloads. Nothing is decoded. All run
in turn; the table gives medians, and ratios that are taken within each round, so that they hold
while the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

from benchmarks.text_matrix import in_turn, ratio_to
from clipcli.images.web.fetch import Fetcher
from clipcli.images.web.options import FetchOptions

PHOTO = Path(__file__).parents[1] / "examples" / "photos" / "rocket.jpg"
HOST = "127.0.0.1"
AT_ONCE = (16, 32)
BASELINE = "one after another"


def serve(port: Connection, latency_seconds: float) -> None:
    """Answer every request with the photo, after a while; tell the port first."""
    body = PHOTO.read_bytes()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(latency_seconds)
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(reply, HOST)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def server_process(latency_seconds: float) -> Iterator[str]:
    """The address of a server that runs until the end of the block."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=serve, args=(there, latency_seconds), daemon=True)
    process.start()
    try:
        yield f"http://{HOST}:{here.recv()}/"
    finally:
        process.terminate()
        process.join()


def downloads(urls: list[str], at_once: int) -> Callable[[], None]:
    """A job that fetches all addresses, so many at once, and checks what comes."""
    size = PHOTO.stat().st_size
    hosts = frozenset({HOST})
    fetcher = Fetcher(FetchOptions(allowed_hosts=hosts, concurrency=at_once, per_host=at_once))

    def job() -> None:
        with ThreadPoolExecutor(at_once) as pool:
            assert all(len(body) == size for body in pool.map(fetcher.fetch, urls))

    return job


def main() -> None:
    """Start the server, run in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--urls", type=int, default=300)
    parser.add_argument("--latency", type=float, default=50, help="milliseconds")
    options = parser.parse_args()

    with server_process(options.latency / 1000) as address:
        urls = [f"{address}{number}.jpg" for number in range(options.urls)]
        jobs = {BASELINE: downloads(urls, 1)}
        jobs |= {f"{count} at once": downloads(urls, count) for count in AT_ONCE}
        downloads(urls[:16], 16)()  # imports, and the server's own start
        seconds = in_turn(jobs, options.rounds)
    print(f"| {len(urls)} URLs, {options.latency:g} ms each | s | times as fast |")
    print("|---|---|---|")
    for name, times in seconds.items():
        print(f"| {name} | {median(times):.2f} | {ratio_to(seconds[BASELINE], times):.1f} |")


if __name__ == "__main__":
    main()
