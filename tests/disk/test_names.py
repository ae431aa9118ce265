from __future__ import annotations

import os
import unicodedata

import pytest

from clipcli.disk.names import LONGEST_NAME, folder_names, numbered, safe_name, same_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cat", "cat"),
        ("a photo of a cat", "a photo of a cat"),
        ("café", "café"),
        ("cafe\u0301", "café"),
        ("a/b", "a_b"),
        ("a\\b:c", "a_b_c"),
        ('<>"|?*', "______"),
        ("two\nlines\tand a bell\x07", "two_lines_and a bell_"),
        ("\x7f\x85", "__"),
        ("\u202egpj.exe", "_gpj.exe"),
        ("zero\u200bwidth\ufeff", "zero_width_"),
        ("etc.", "etc"),
        ("dots and blanks . . ", "dots and blanks"),
        ("  cat", "cat"),
        (".", "_"),
        ("..", "_"),
        ("...", "_"),
        ("", "_"),
        (" ", "_"),
        (".hidden", "_hidden"),
        ("../../etc", "_._.._etc"),
        ("CON", "CON_"),
        ("con", "con_"),
        ("nul.", "nul_"),
        ("Aux.jpg", "Aux_.jpg"),
        ("prn .txt", "prn_.txt"),
        ("COM1", "COM1_"),
        ("lpt9.x.y", "lpt9_.x.y"),
        ("COM\u00b2", "COM\u00b2_"),
        ("conin$", "conin$_"),
        ("com", "com"),
        ("COM10", "COM10"),
        ("console", "console"),
        (os.fsdecode(b"\xff\xfe"), "__"),
        ("\ud800", "_"),
    ],
)
def test_a_text_becomes_a_name_for_every_file_system(text, name):
    assert safe_name(text) == name


@pytest.mark.parametrize("text", ["x" * 1000, "é" * 300, "猫" * 200, "😀" * 100, "." + "a " * 200])
def test_a_long_text_is_cut_at_a_character(text):
    name = safe_name(text)

    assert 230 < len(name.encode()) <= LONGEST_NAME
    assert "\ufffd" not in name
    assert safe_name(name) == name


@pytest.mark.parametrize(
    "texts",
    [
        ("a/b", "a:b", "a_b"),
        ("Cat", "cat", "CAT"),
        ("café", "cafe\u0301"),
        ("Straße", "STRASSE"),
        ("cat", "cat.", "cat "),
        ("con", "CON_", "con "),
        ("x" * 300 + "1", "x" * 300 + "2", "x" * 300 + "3"),
        ("a/b", "a_b-2", "a:b"),
        ("unknown", "UNKNOWN ", "cat"),
    ],
)
def test_no_two_labels_share_a_folder_on_any_file_system(texts):
    names = folder_names(texts, taken=("unknown",))

    assert list(names) == list(texts)
    assert len({same_name(name) for name in [*names.values(), "unknown"]}) == len(texts) + 1
    assert all(len(name.encode()) <= LONGEST_NAME for name in names.values())
    assert all(unicodedata.is_normalized("NFC", name) for name in names.values())


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("cat.jpg", 1, "cat.jpg"),
        ("cat.jpg", 2, "cat-2.jpg"),
        ("cat", 3, "cat-3"),
        (".cat", 2, ".cat-2"),
        ("a.tar.gz", 2, "a.tar-2.gz"),
        ("x" * 251 + ".jpg", 12, "x" * 248 + "-12.jpg"),
        ("猫" * 83 + ".jpg", 2, "猫" * 83 + "-2.jpg"),
        ("猫" * 84 + ".jp", 2, "猫" * 83 + "-2.jp"),
        ("a." + "x" * 253, 2, "a-2." + "x" * 126),
        (os.fsdecode(b"\xff" * 251 + b".jpg"), 2, os.fsdecode(b"\xff" * 249 + b"-2.jpg")),
    ],
)
def test_a_number_stands_before_the_ending_and_the_name_stays_short_enough(name, number, expected):
    assert numbered(name, number) == expected
    assert len(os.fsencode(numbered(name, number))) <= LONGEST_NAME
