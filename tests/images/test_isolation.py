"""Decoding in processes of their own: nothing that a decoder does reaches the run."""

from __future__ import annotations

import io
import os
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from command import PATIENCE
from decoders import ABORT, HANG, OBEDIENT, PID, TALKATIVE, obey
from PIL import Image

from clipcli.errors import ClipcliError, FailureCode, InputError
from clipcli.images import isolation
from clipcli.images.decoding import decode
from clipcli.images.isolation import DecoderPool
from clipcli.images.options import ImageOptions
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.images.worker import HEAD

CONFIG = PreprocessConfig.from_open_clip({}, (64, 32))
OPTIONS = ImageOptions()


def encoded(kind: str, size: tuple[int, int] = (90, 70)) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 50).convert("RGB").save(file, kind)
    return file.getvalue()


PHOTO = encoded("JPEG")


@pytest.fixture
def obedient(monkeypatch: pytest.MonkeyPatch) -> None:
    obey(monkeypatch)


@pytest.fixture
def pool(obedient: None) -> Iterator[DecoderPool]:
    with DecoderPool(CONFIG, OPTIONS, PATIENCE, workers=1) as opened:
        yield opened


@pytest.fixture
def signal_pipe(tmp_path: Path) -> Path:
    """A named pipe, with which a worker can say that it is there: opening it waits for it."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def failure(pool: DecoderPool, data: bytes) -> InputError:
    with pytest.raises(InputError) as caught:
        pool.pixels(data)
    return caught.value


def said(pool: DecoderPool, data: bytes) -> str:
    """What a worker says that was told to."""
    return failure(pool, data).message


def is_as_in_this_process(pool: DecoderPool, data: bytes = PHOTO) -> bool:
    return np.array_equal(pool.pixels(data), decode(data, CONFIG, OPTIONS))


# What comes back


def test_pixels_are_to_the_bit_what_this_process_decodes():
    with DecoderPool(CONFIG, OPTIONS, PATIENCE, workers=1) as pool:
        for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
            data = encoded(kind)
            pixels = pool.pixels(data)
            assert (pixels.shape, pixels.dtype) == ((3, 64, 32), np.float32)
            assert np.array_equal(pixels, decode(data, CONFIG, OPTIONS))


def test_settings_reach_the_workers():
    config = PreprocessConfig((30, 40), (0.5, 0.25, 0.0), (1.0, 0.5, 2.0), "bilinear", "longest", 9)
    options = ImageOptions(extra_formats=["tiff"], max_pixels=2_000_000, fast_decode=True)
    with DecoderPool(config, options, PATIENCE, workers=1) as pool:
        for data in (encoded("TIFF"), encoded("JPEG", (900, 700))):
            assert np.array_equal(pool.pixels(data), decode(data, config, options))
        assert failure(pool, encoded("PNG", (2001, 1000))).code is FailureCode.TOO_MANY_PIXELS


def test_failures_are_word_for_word_those_of_this_process():
    with DecoderPool(CONFIG, ImageOptions(max_pixels=10_000), PATIENCE, workers=1) as pool:
        for data in (b"", b"text", PHOTO[:500], encoded("PNG", (200, 200)), encoded("TIFF")):
            with pytest.raises(InputError) as here:
                decode(data, CONFIG, ImageOptions(max_pixels=10_000))
            there = failure(pool, data)
            assert (there.code, there.message) == (here.value.code, here.value.message)


def test_pillows_own_limit_is_lifted_in_the_workers(monkeypatch):
    data = bytearray(encoded("BMP"))
    data[18:26] = struct.pack("<ii", 13_400, 13_400)  # more than Pillow allows unless told to
    with DecoderPool(CONFIG, OPTIONS, PATIENCE, workers=1) as pool:
        assert failure(pool, bytes(data)).code is FailureCode.DAMAGED


def test_an_image_larger_than_a_pipe_gets_through():
    data = encoded("BMP", (1200, 900))
    with DecoderPool(CONFIG, OPTIONS, PATIENCE, workers=1) as pool:
        assert is_as_in_this_process(pool, data)


def test_threads_get_their_own_images_pixels():
    images = [encoded("PNG", (60 + i, 90)) for i in range(24)]
    alone = [decode(data, CONFIG, OPTIONS) for data in images]
    with (
        DecoderPool(CONFIG, OPTIONS, PATIENCE, workers=2) as pool,
        ThreadPoolExecutor(4) as threads,
    ):
        together = list(threads.map(pool.pixels, images))
    assert all(map(np.array_equal, alone, together))


def test_workers_are_started_as_they_are_needed_and_no_more(obedient):
    with DecoderPool(CONFIG, OPTIONS, PATIENCE, workers=3) as pool:
        assert len({said(pool, PID) for _ in range(4)}) == 1


# What goes wrong


def test_a_decoder_that_hangs_fails_its_image_and_is_replaced(obedient):
    with DecoderPool(CONFIG, OPTIONS, 1, workers=1) as pool:
        before = said(pool, PID)
        error = failure(pool, HANG)
        assert error.code is FailureCode.DECODER_TIMEOUT
        assert error.message == "took too long to decode (--decode-timeout is 1 s)"
        assert is_as_in_this_process(pool)
        assert said(pool, PID) != before


def test_a_worker_that_stops_reading_is_no_reason_to_wait_for_ever(monkeypatch):
    deaf = "import sys, time; sys.stdout.write('R'); sys.stdout.flush(); time.sleep(3600)"
    monkeypatch.setattr(isolation, "_START", deaf)
    with DecoderPool(CONFIG, OPTIONS, 0.2, workers=1) as pool:
        assert failure(pool, bytes(1_000_000)).code is FailureCode.DECODER_TIMEOUT


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (ABORT, "SIGABRT"),
        (b"do:os.kill(os.getpid(), 11)", "SIGSEGV"),
        (b"do:os.kill(os.getpid(), 9)", "SIGKILL"),
        (b"do:os._exit(3)", "exit status 3"),
        (b"do:raise SystemExit(4)", "exit status 4"),
    ],
)
def test_a_decoder_that_dies_fails_its_image_and_is_replaced(pool, data, cause):
    for _ in range(2):  # a new worker's first image, then one of many
        error = failure(pool, data)
        assert error.code is FailureCode.DECODER_DIED
        assert error.message == f"the process that decoded it died ({cause})"
        assert is_as_in_this_process(pool)


def test_threads_beside_a_dying_decoder_get_their_pixels(obedient):
    with (
        DecoderPool(CONFIG, OPTIONS, PATIENCE, workers=2) as pool,
        ThreadPoolExecutor(4) as threads,
    ):
        bad = [threads.submit(failure, pool, ABORT) for _ in range(3)]
        good = [threads.submit(is_as_in_this_process, pool) for _ in range(12)]
        assert all(one.result() for one in good)
        assert {one.result().code for one in bad} == {FailureCode.DECODER_DIED}


def test_an_image_does_not_answer_for_what_an_earlier_one_did_to_the_worker(pool):
    assert said(pool, b"do:decode = lambda *_: os.abort(); say('poisoned')") == "poisoned"
    assert is_as_in_this_process(pool)


def test_an_image_does_not_answer_for_a_worker_that_died_while_it_was_idle(pool):
    pid = int(said(pool, PID))
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert is_as_in_this_process(pool)


def test_what_decoders_print_tears_no_answer(pool, capfd):
    loud = b"do:print('out'); os.write(1, b'1'); os.write(2, b'2'); say('done')"
    assert said(pool, loud) == "done"
    assert is_as_in_this_process(pool)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "nonsense",
    [
        b"?",
        b"RRRR",
        b"F" + bytes(8),
        b"F" + b"\xff" * 100,
        b"F" + (12).to_bytes(8) + b"hacked\nhello",
        b"P" + bytes(100),
        b"P" + HEAD.pack(False, 1, 0)[:-1],
        *(
            b"P" + HEAD.pack(False, seen, others) + bytes(64 * 32 * 3 * 5)
            for seen, others in ((1.5, 0), (-0.5, 0), (float("nan"), 0), (1, 1), (1, 255))
        ),
    ],
    ids=lambda answer: repr(answer[:20]),
)
def test_answers_that_make_no_sense_are_a_death(monkeypatch, nonsense):
    monkeypatch.setattr(isolation, "_START", TALKATIVE.format(nonsense))
    with DecoderPool(CONFIG, OPTIONS, PATIENCE, workers=1) as pool:
        assert failure(pool, PHOTO).code is FailureCode.DECODER_DIED


def test_a_worker_that_talks_nonsense_and_goes_on_is_ended(monkeypatch):
    goes_on = TALKATIVE.format(b"?") + "stdout.flush(); stdin.read()"
    monkeypatch.setattr(isolation, "_START", goes_on)
    with DecoderPool(CONFIG, OPTIONS, PATIENCE, workers=1) as pool:
        assert "its answer made no sense" in failure(pool, PHOTO).message


def test_a_decoder_that_takes_long_to_die_has_died_of_what_it_says_in_the_end(monkeypatch):
    slow = "import os, time; os.close(1); time.sleep(1.5); os._exit(3)"
    monkeypatch.setattr(isolation, "_START", TALKATIVE.format(b"") + "\nstdout.flush()\n" + slow)
    with DecoderPool(CONFIG, OPTIONS, PATIENCE, workers=1) as pool:
        error = failure(pool, PHOTO)
    assert error.message == "the process that decoded it died (exit status 3)"


def test_an_answer_that_nobody_took_is_not_the_next_images(pool, monkeypatch):
    def interrupted(*_: object) -> None:  # as it is by Ctrl-C
        raise KeyboardInterrupt

    other = encoded("PNG", (50, 50))
    with monkeypatch.context() as patch:
        patch.setattr(isolation._Worker, "_answer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.pixels(PHOTO)
    assert is_as_in_this_process(pool, other)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit does not hold elsewhere")
def test_memory_has_a_bound(obedient):
    options = ImageOptions(max_bytes=1_000, max_pixels=1_000)
    take = "try:\n bytearray({}); say('there was')\nexcept MemoryError:\n say('none left')"
    with DecoderPool(CONFIG, options, PATIENCE, workers=1) as pool:
        assert said(pool, b"do:" + take.format(1 << 29).encode()) == "there was"
        assert said(pool, b"do:" + take.format(1 << 31).encode()) == "none left"


# Starts and ends


@pytest.mark.parametrize(
    ("start", "reason"), [("import clipcli.nothing", "exit status 1"), ("", "exit status 0")]
)
def test_a_worker_that_cannot_start_is_no_images_fault(monkeypatch, capfd, start, reason):
    monkeypatch.setattr(isolation, "_START", start)
    with DecoderPool(CONFIG, OPTIONS, PATIENCE, workers=1) as pool:
        with pytest.raises(ClipcliError, match=reason) as caught:
            pool.pixels(PHOTO)
        assert not isinstance(caught.value, InputError)
    assert ("nothing" in start) == ("No module named" in capfd.readouterr().err)


def test_an_interpreter_that_is_not_there_is_no_images_fault(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    pool = DecoderPool(CONFIG, OPTIONS, PATIENCE, workers=1)
    with pool, pytest.raises(ClipcliError, match="No such file"):
        pool.pixels(PHOTO)


def test_the_start_is_not_charged_to_the_first_image(monkeypatch):
    class Ready(isolation._Worker):
        """Once it is, it has all the time that a busy machine needs for its image."""

        _is_ready = False

        def wait_until_ready(self):
            super().wait_until_ready()
            self._is_ready = True

        def _limit(self, seconds):
            return super()._limit(PATIENCE if self._is_ready else seconds)

    monkeypatch.setattr(isolation, "_Worker", Ready)
    monkeypatch.setattr(isolation, "_START", "import time; time.sleep(1.5)\n" + isolation._START)
    with DecoderPool(CONFIG, OPTIONS, 1, workers=1) as pool:
        assert is_as_in_this_process(pool)


def test_workers_import_from_where_their_parent_does(pool, monkeypatch, tmp_path):
    (tmp_path / "beside.py").write_text("word = 'found'")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    assert said(pool, b"do:import beside; say(beside.word)") == "found"
    assert said(pool, b"do:say('/elsewhere' in sys.path)") == "False"


def test_workers_are_out_of_reach_of_the_terminals_signals(pool):
    assert os.getsid(int(said(pool, PID))) != os.getsid(0)
    assert said(pool, b"do:os.kill(os.getpid(), 2); say('alive')") == "alive"


def test_a_script_without_a_guard_is_not_run_again_by_its_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from clipcli.images.isolation import *\n"
        "print('once')\n"
        "config = PreprocessConfig.from_open_clip({}, 8)\n"
        "with DecoderPool(config, ImageOptions(), 60, 1) as pool:\n"
        "    try: pool.pixels(b'text')\n"
        "    except InputError as error: print(error)\n"
    )
    for flags in ([], ["-I"]):
        done = subprocess.run(
            [sys.executable, *flags, script],
            capture_output=True,
            timeout=PATIENCE,
            check=True,
            text=True,
        )
        assert (done.stdout, done.stderr) == ("once\nnot an image (it looks like text)\n", "")


def test_closing_leaves_no_process(obedient):
    pool = DecoderPool(CONFIG, OPTIONS, PATIENCE, workers=2)
    pid = int(said(pool, PID))
    pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ClipcliError, match="closed"):
        pool.pixels(PHOTO)
    pool.close()


def test_closing_ends_a_decoder_at_work(pool, signal_pipe):
    hang = f"do:open({str(signal_pipe)!r}, 'w'); time.sleep(3600)".encode()
    with ThreadPoolExecutor(1) as threads:
        hanging = threads.submit(failure, pool, hang)
        signal_pipe.read_bytes()
        pool.close()
        assert hanging.result().code is FailureCode.DECODER_DIED


ORPHANS_PARENT = """
import os, sys
from clipcli.images import isolation
from clipcli.images.options import ImageOptions
from clipcli.images.preprocessing import PreprocessConfig
isolation._START = sys.argv[1]
config = PreprocessConfig.from_open_clip({}, 8)
pool = isolation.DecoderPool(config, ImageOptions(), 60, 1)
pool.pixels(sys.argv[2].encode())
"""


# Its alarm, if there is one, is not waited for.
HURRY = "import signal; signal.alarm(min(1, signal.alarm(0))); time.sleep(3600)"


@pytest.mark.parametrize("then", ["say('idle')", HURRY], ids=["idle", "hanging"])
def test_a_worker_whose_parent_was_killed_ends(signal_pipe, then):
    """The second by its own alarm, a moment after its parent would have ended it."""
    start = OBEDIENT.replace("serve()", "worker._ORPHAN_SECONDS = 0; serve()").replace(
        "import serve", "import serve; from clipcli.images import worker"
    )
    open_pipe = f"do:pipe = open({str(signal_pipe)!r}, 'w'); pipe.write('there')"
    command = [sys.executable, "-c", ORPHANS_PARENT, start, f"{open_pipe}; pipe.flush(); {then}"]
    parent = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    with parent, signal_pipe.open() as pipe:
        assert pipe.read(5) == "there"
        parent.kill()
        assert select.select([pipe], [], [], PATIENCE)[0], "the worker goes on"
        assert pipe.read() == ""
