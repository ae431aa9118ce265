"""Embeddings as .npz: for NumPy alone, and hostile ones refused with the reason."""

from __future__ import annotations

import json
import os
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from embeddings_files import DESCRIPTION, NAMES, images, read, refused, unit, write

from clipcli.embeddings.files import open_embeddings
from clipcli.errors import UsageError


def test_numpy_alone_reads_npz_without_pickle(npz: Path) -> None:
    with np.load(npz, allow_pickle=False) as members:
        offsets = members["name_offsets"]
        names = members["names"].tobytes()
        assert members["embeddings"].dtype == np.float32
        np.testing.assert_array_equal(members["embeddings"], unit(len(NAMES)))
        assert [names[a:b] for a, b in pairwise(offsets)] == [os.fsencode(name) for name in NAMES]
        assert members["index"].tolist() == [3 * place + 1 for place in range(len(NAMES))]
        assert json.loads(members["description"].tobytes()) == asdict(DESCRIPTION)


def test_npz_members_are_stored_as_they_are_and_have_no_date(npz: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(npz) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    again = write(tmp_path / "again.npz", NAMES, unit(len(NAMES)), at_once=2)
    assert again.read_bytes() == npz.read_bytes()


def test_large_npz_members_are_zip64(tmp_path: Path, monkeypatch) -> None:
    # The zip format's own limit is 2 GiB; here only the rows are beyond it.
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10_000)
    rows = unit(1000)
    path = write(tmp_path / "e.npz", [str(n) for n in range(1000)], rows)
    monkeypatch.undo()

    with zipfile.ZipFile(path) as archive:
        versions = {entry.filename: entry.extract_version for entry in archive.infolist()}
    assert versions["embeddings.npy"] == zipfile.ZIP64_VERSION
    assert read(open_embeddings(path))[1].tobytes() == rows.tobytes()
    with np.load(path, allow_pickle=False) as members:
        np.testing.assert_array_equal(members["embeddings"], rows)


def test_npz_compressed_by_others_is_read_too(npz: Path) -> None:
    with np.load(npz) as members:
        np.savez_compressed(npz, **members)

    assert read(open_embeddings(npz))[0] == images(NAMES)


Members = dict[str, np.ndarray]


def changed(npz: Path, change: Callable[[Members], Members]) -> Path:
    """The same file with other members, as sound a zip as before."""
    with np.load(npz) as members:
        kept = {name: members[name] for name in members.files}
    np.savez(npz, **change(kept))
    return npz


def with_description(**fields: object) -> Callable[[Members], Members]:
    text = json.dumps({**asdict(DESCRIPTION), **fields}).encode()
    return lambda members: {**members, "description": np.frombuffer(text, np.uint8)}


def with_value(member: str, place: object, value: object) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        members[member][place] = value
        return members

    return change


def with_member(
    member: str, make: Callable[[np.ndarray], np.ndarray]
) -> Callable[[Members], Members]:
    return lambda members: {**members, member: make(members[member])}


HOSTILE = {
    "rows of other floats": (with_member("embeddings", np.float64), "'embeddings' is of the wrong"),
    "rows of objects": (
        with_member("embeddings", lambda a: a.astype(object)),
        "'embeddings' is of",
    ),
    "rows in columns": (
        with_member("embeddings", np.asfortranarray),
        "'embeddings' is of the wrong",
    ),
    "rows in one line": (with_member("embeddings", np.ravel), "'embeddings' is of the wrong"),
    "rows of another width": (with_member("embeddings", lambda a: a[:, :3]), "do not fit together"),
    "fewer rows": (with_member("embeddings", lambda a: a[1:]), "do not fit together"),
    "fewer places": (with_member("index", lambda a: a[1:]), "do not fit together"),
    "names as text": (with_member("names", lambda a: a.astype("U1")), "'names' is of the wrong"),
    "fewer names": (with_member("names", lambda a: a[:-1]), "'names' is cut short"),
    "names of nobody": (with_member("names", lambda a: np.append(a, a)), "names of no images"),
    "fewer offsets": (with_member("name_offsets", lambda a: a[1:]), "do not fit together"),
    "offsets backwards": (with_value("name_offsets", 2, 1), "out of order"),
    "offsets below zero": (with_value("name_offsets", 0, -1), "out of order"),
    "offsets not from zero": (with_value("name_offsets", 0, 1), "do not begin at the beginning"),
    "offsets that overflow": (with_value("name_offsets", 3, 2**63 - 1), "out of order"),
    "an endless name": (with_value("name_offsets", -1, 2**40), "out of order"),
    "a place below zero": (with_value("index", 3, -7), "an index below zero"),
    "a row of nan": (
        with_value("embeddings", (2, 1), np.nan),
        "image 7 (caf\u00e9.png) is not of length",
    ),
    "a row of infinity": (
        with_value("embeddings", 0, np.inf),
        "image 1 (cat.jpg) is not of length",
    ),
    "a row of zeros": (with_value("embeddings", 0, 0), "image 1 (cat.jpg) is not of length"),
    "a row too long": (with_value("embeddings", 0, 3e38), "image 1 (cat.jpg) is not of length"),
    "no JSON": (with_member("description", lambda a: a[1:]), "description is not JSON"),
    "deep JSON": (
        with_member("description", lambda a: np.frombuffer(b"[" * 60_000, np.uint8)),
        "description is not JSON",
    ),
    "a list in JSON": (
        with_member("description", lambda a: np.frombuffer(b"[]", np.uint8)),
        "not a JSON object",
    ),
    "a long description": (
        with_member("description", lambda a: np.zeros(1 << 20, np.uint8)),
        "description is too long",
    ),
    "no fingerprint": (
        with_description(fingerprint=None),
        "no fingerprint, or one of a wrong type",
    ),
    "a width of true": (with_description(embed_dim=True), "no embed_dim, or one of a wrong type"),
    "a width of nothing": (with_description(embed_dim=0), "an impossible number"),
    "a width beyond memory": (with_description(embed_dim=2**40), "an impossible number"),
    "half a character": (with_description(model="\ud800"), "description is not JSON"),
    "a format of none": (with_description(format=0), "an impossible number"),
    "a later format": (with_description(format=2), "of format 2, which a later clipcli writes"),
}


@pytest.mark.parametrize(("change", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_npz_is_refused_with_the_reason(
    npz: Path, change: Callable[[Members], Members], reason: str
) -> None:
    message = refused(changed(npz, change))

    assert message.startswith(f"{npz}: not usable as embeddings: ")
    assert reason in message
    assert message.endswith("; make it anew with 'clipcli embed'")


@pytest.mark.parametrize("member", ["embeddings", "names", "name_offsets", "index", "description"])
def test_a_missing_member_is_named(npz: Path, member: str) -> None:
    changed(npz, lambda members: {name: members[name] for name in members.keys() - {member}})

    assert f"it has no member '{member}'" in refused(npz)


def test_a_header_cannot_claim_rows_that_are_not_there(npz: Path) -> None:
    with zipfile.ZipFile(npz) as archive:
        members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    claimed = members["embeddings.npy"].replace(b"(7, 4)", b"(9, 4)")
    assert claimed != members["embeddings.npy"]
    with zipfile.ZipFile(npz, "w") as archive:
        for name, data in {**members, "embeddings.npy": claimed}.items():
            archive.writestr(name, data)

    assert "'embeddings' is of another size than it says" in refused(npz)


def test_a_header_of_gigabytes_is_not_read(npz: Path) -> None:
    with zipfile.ZipFile(npz) as archive:
        members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    length = 64 << 20
    bomb = b"\x93NUMPY\x02\x00" + length.to_bytes(4, "little") + b" " * length
    with zipfile.ZipFile(npz, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**members, "index.npy": bomb}.items():
            archive.writestr(name, data)
    del bomb

    tracemalloc.start()
    message = refused(npz)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert "'index' is of an unknown version of .npy" in message
    assert peak < length / 8


def test_unknown_fields_and_members_are_passed_over(npz: Path) -> None:
    changed(npz, with_description(mood="good"))
    changed(npz, lambda members: {**members, "captions": np.zeros(3)})

    assert read(open_embeddings(npz))[0] == images(NAMES)


def test_every_flipped_bit_and_every_cut_of_npz_is_noticed_or_harmless(npz: Path) -> None:
    whole, right = npz.read_bytes(), read(open_embeddings(npz))
    flipped = (
        whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]
        for place in range(len(whole))
    )
    cut = (whole[:length] for length in range(0, len(whole), 64))
    noticed = 0
    for data in [*flipped, *cut]:
        npz.write_bytes(data)
        try:
            refs, rows = read(open_embeddings(npz))
        except UsageError:
            noticed += 1
        else:
            assert refs == right[0]
            assert rows.tobytes() == right[1].tobytes()
    # What is harmless is in the zip's own fields: dates, permissions, versions.
    assert noticed > 0.8 * len(whole)
