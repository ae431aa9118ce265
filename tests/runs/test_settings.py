"""What is told of two runs' settings, and how they are kept."""

from __future__ import annotations

import pytest

from clipcli.runs.settings import differences, moved_digits, read_settings

MANY = [f"label {number}" for number in range(1000)]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("tiny", "ViT-B/32", "tiny then, ViT-B/32 now"),
        (["cat", "dog"], ["cat", "car"], "'cat', 'dog' then, 'cat', 'car' now"),
        (["cat"], ["cat", "dog"], "'cat' then, 'cat', 'dog' now"),
        (5, None, "5 then, none now"),
        (False, True, "no then, yes now"),
        (0.25, 0.5, "0.25 then, 0.5 now"),
        ("\x1b[2J", "plain", "\\x1b[2J then, plain now"),
        ([], ["{}"], "none then, '{}' now"),
    ],
)
def test_a_difference_is_named_with_what_was_and_what_is(old, new, told):
    assert differences({"what": old}, {"what": new}) == [f"what: {told}"]


def test_equal_settings_do_not_differ_whatever_made_them():
    old = {"labels": ["a", "b"], "provenance": {"clipcli": "1"}, "bytes": [7], "resumed": [{}]}
    assert differences(old, {"labels": ("a", "b"), "provenance": {"clipcli": "2"}}) == []


def test_what_only_one_run_knows_of_differs_and_comes_in_this_run_s_order():
    old = {"gone": "x", "model": "tiny", "labels": ["a"]}
    new = {"labels": ["b"], "model": "tiny", "added": True}
    assert differences(old, new) == [
        "labels: 'a' then, 'b' now",
        "added: not recorded then, yes now",
        "gone: x then, not recorded now",
    ]


@pytest.mark.parametrize(
    ("then", "now", "told"),
    [
        ({"engine": "a"}, {"engine": "b"}, ["engine: a then, b now"]),
        ({"text_embeddings": "1"}, {"text_embeddings": "2"}, ["text_embeddings: 1 then, 2 now"]),
        ({"engine": "a", "numpy": "1"}, {"engine": "a", "numpy": "2"}, []),
        ({"engine": "a"}, {"engine": "a", "text_embeddings": "2"}, []),
        (7, {"engine": "b"}, []),
    ],
)
def test_what_moves_the_last_digits_is_told_where_both_runs_recorded_it(then, now, told):
    assert moved_digits({"provenance": then}, {"provenance": now}) == told


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        (MANY, [*MANY[:500], "wolf", *MANY[501:]], ("label 500", "wolf")),
        (MANY, MANY[:-1], ("label 999", "…")),
        (MANY[1:], MANY, ("label 1'", "label 0'")),
        ("0" * 99 + "a", "0" * 99 + "b", ("0a", "0b")),
    ],
)
def test_long_values_are_cut_to_where_they_differ(old, new, shown):
    (told,) = differences({"what": old}, {"what": new})
    then, now = told.removeprefix("what: ").split(" then, ")
    assert shown[0] in then
    assert shown[1] in now
    assert len(told) < 150


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{", b"\xff\xfe", b"3", b"[" * 100_000, b'{"bytes": 5}', b'{"resumed": 7}'],
)
def test_a_file_without_settings_is_not_taken_for_one(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"\w"):
        read_settings(tmp_path / "a.json")
