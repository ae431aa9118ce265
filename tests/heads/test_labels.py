"""Labels and templates: where they come from and what is refused."""

from __future__ import annotations

import pytest

from clipcli.errors import UsageError
from clipcli.heads.label_files import LABEL_PRESETS
from clipcli.heads.labels import TEMPLATE_SETS, LabelSet, collect_labels, collect_templates


def test_labels_are_used_verbatim():
    names = (" two  spaces ", "{braces} {}", "猫", "C# #1")
    assert LabelSet(names).prompts() == [[name] for name in names]


def test_every_label_goes_into_every_template_label_by_label():
    labels = LabelSet(("cat", "{x}"), ("a {}", "{} and {} {0}"))
    assert labels.prompts() == [["a cat", "cat and cat {0}"], ["a {x}", "{x} and {x} {0}"]]


@pytest.mark.parametrize(
    ("names", "templates", "message"),
    [
        ((), ("{}",), "no labels"),
        (("cat", " \t"), ("{}",), "a label is empty"),
        (("cat", "dog", "cat"), ("{}",), "more than once: 'cat'"),
        (("cat", "dog"), ("a {} photo", "a photo"), "template 'a photo' has no {}"),
        (("cat", "\udcff"), ("{}",), "not UTF-8"),
        (("cat", "dog"), ("{}\udcff",), "not UTF-8"),
    ],
)
def test_what_makes_no_sense_is_refused(names, templates, message):
    with pytest.raises(UsageError, match=message.replace("{", r"\{")):
        LabelSet(names, templates)


def test_one_label_is_refused_under_softmax_only():
    labels = LabelSet(("cat",))
    labels.check_alternatives("sigmoid")
    with pytest.raises(UsageError, match="name an alternative to 'cat'"):
        labels.check_alternatives("softmax")
    LabelSet(("cat", "dog")).check_alternatives("softmax")


def test_inline_labels_come_first_then_files_and_presets_in_their_order(tmp_path):
    file = tmp_path / "labels.txt"
    file.write_text("lion\ntiger\n")
    names = tuple(collect_labels(["zebra", "ape"], [str(file), "cifar10"]))
    assert names[:5] == ("zebra", "ape", "lion", "tiger", "airplane")
    assert len(names) == 14


def test_a_preset_wins_over_a_file_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar10").write_text("mine\nyours\n")
    assert "airplane" in collect_labels([], ["cifar10"])
    assert tuple(collect_labels([], ["./cifar10"])) == ("mine", "yours")


@pytest.mark.parametrize(("preset", "count"), [*zip(LABEL_PRESETS, [10, 100, 1000], strict=True)])
def test_presets_hold_their_classes_all_distinct(preset, count):
    assert len(LabelSet.of(collect_labels([], [preset]), ["{}"]).names) == count


@pytest.mark.parametrize(("name", "count"), [*zip(TEMPLATE_SETS, [7, 80], strict=True)])
def test_built_in_templates_are_complete_and_add_up_with_others(name, count):
    templates = collect_templates(["a {}", name])
    assert len(templates) == 1 + count
    assert LabelSet(("cat", "dog"), templates).templates[0] == "a {}"


def test_without_templates_the_label_is_the_prompt():
    assert collect_templates([]) == ("{}",)


def test_texts_stand_for_their_label_in_every_template():
    labels = LabelSet.of({"cat": ("a tom", "a queen"), "dog": ("dog",)}, ("{}", "{} asleep"))
    assert labels.names == ("cat", "dog")
    assert labels.prompts() == [
        ["a tom", "a tom asleep", "a queen", "a queen asleep"],
        ["dog", "dog asleep"],
    ]


def test_labels_that_stand_for_themselves_are_the_same_set_either_way():
    assert LabelSet.of({"cat": ("cat",), "dog": ["dog"]}, ("{}",)) == LabelSet(("cat", "dog"))


@pytest.mark.parametrize("texts", [(), ("",), ("a cat", " ")])
def test_a_label_without_a_text_is_refused(texts):
    with pytest.raises(UsageError, match="a label is empty"):
        LabelSet.of({"cat": texts, "dog": ("dog",)}, ("{}",))


def test_a_label_that_is_given_and_in_a_file_is_refused(tmp_path):
    file = tmp_path / "labels.txt"
    file.write_text("cat\ndog\n")
    with pytest.raises(UsageError, match="more than once: 'dog'"):
        collect_labels(["dog"], [str(file)])


def test_templates_come_from_a_file_too(tmp_path):
    file = tmp_path / "templates.txt"
    file.write_bytes("\ufeff# mine\r\na {}\r\n\r\n{}!\r\n".encode())
    assert collect_templates([f"@{file}", "@{}"]) == ("a {}", "{}!", "@{}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b"\xff\xfea", "not UTF-16 text"), (b"#\n", "no templates")],
)
def test_a_file_without_templates_is_refused_by_name(tmp_path, content, reason):
    file = tmp_path / "templates.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=reason) as caught:
        collect_templates([f"@{file}"])
    assert "templates.txt" in str(caught.value)
