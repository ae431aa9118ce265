"""Files of labels: every way in which people write them, and what is none of these."""

from __future__ import annotations

import io
import json
import sys
from types import SimpleNamespace

import pytest

from clipcli.errors import UsageError
from clipcli.heads.label_files import LABEL_PRESETS, read_labels

PLAIN = {"a cat": ("a cat",), "no": ("no",)}
PROMPTS = {"cat": ("a tom", "a queen"), "dog": ("a dog",)}

TAKEN = {
    "lines.txt": (b"a cat\nno\n", PLAIN),
    "windows.txt": ("\ufeff# c\r\n a cat \r\n\r\n#x\r\nno\r\n".encode(), PLAIN),
    "little.txt": ("a cat\nno".encode("utf-16"), PLAIN),
    "big.txt": (b"\xfe\xff" + "a cat\nno\n".encode("utf-16-be"), PLAIN),
    "wide.txt": ("a cat\nno\n".encode("utf-32"), PLAIN),
    "odd.txt": ("#1\n #1 fan\nC#\n寿司\na: b\n".encode(),
                {"#1 fan": ("#1 fan",), "C#": ("C#",), "寿司": ("寿司",), "a: b": ("a: b",)}),
    "commas.txt": (b"tench, a fish\nhen, a bird\n",
                   {"tench, a fish": ("tench, a fish",), "hen, a bird": ("hen, a bird",)}),
    "list.json": (b'["a cat", "no"]', PLAIN),
    "list-without-its-ending": (b'\n ["a cat", "no"]', PLAIN),
    "marked.json": (b"\xef\xbb\xbf" + b'["a cat", "no"]', PLAIN),
    "prompts.json": (json.dumps({"cat": ["a tom", "a queen"], "dog": "a dog"}).encode(), PROMPTS),
    "list.yaml": (b"- a cat\n- no\n", PLAIN),
    "prompts.yml": (b"cat:\n- a tom\n- a queen\ndog: a dog\n", PROMPTS),
    "table.tsv": (b"cat\ta tom\ncat\ta queen\ndog\ta dog\n", PROMPTS),
    "headed.txt": (b"label\tprompt\r\ncat\ta tom\r\ncat\ta queen\r\ndog\ta dog\r\n", PROMPTS),
    "some.tsv": (b"cat\ta tom\ndog\n", {"cat": ("a tom",), "dog": ("dog",)}),
}  # fmt: skip

REFUSED = {
    "none.txt": (b"# only this\n\n", "no labels in"),
    "none.json": (b"[]", "no labels in"),
    "empty.txt": (b"", "no labels in"),
    "bytes.txt": (b"a\xfcb\n", "not UTF-8 text"),
    "unmarked.txt": ("a cat\nno".encode("utf-16-le"), "line 1 holds the byte 0x00: UTF-16"),
    "half.txt": (b"\xff\xfea", "not UTF-16 text"),
    "nul.txt": (b"cat\ndo\0g\n", "line 2 holds the byte 0x00"),
    "escape.txt": (b"\x1b[31mcat\ndog\n", "line 1 holds the byte 0x1b"),
    "twice.txt": (b"cat\ndog\ncat\n", "more than once: 'cat'"),
    "twice.json": (b'{"cat": "a", "cat": "b"}', "more than once: 'cat'"),
    "twice-in-a-list.json": (b'["cat", "cat"]', "more than once: 'cat'"),
    "cut.json": (b'{"cat": ["a"', "not whole JSON"),
    "lines.jsonl": (b'{"label": "cat"}\n{"label": "dog"}\n', "not whole JSON"),
    "number.json": (b"3", "neither a list nor an object"),
    "numbers.json": (b'["cat", 3]', "3 is no label"),
    "counts.json": (b'{"cat": 3}', "'cat' is no label with its prompts"),
    "nested.json": (b'{"cat": [["a"]]}', "'cat' is no label with its prompts"),
    "deep.json": (b"[" * 100_000, "nested too deeply"),
    "promptless.json": (b'{"cat": []}', "'cat' has no prompts"),
    "cut.yaml": (b"cat: [a", "not YAML"),
    "scalar.yaml": (b"cat", "neither a list nor an object"),
    "mapping.txt": (b"cat: a tom\ndog: a dog\n", "looks like YAML: name it .yaml"),
    "dashes.txt": (b"- cat\n- dog\n", "looks like YAML"),
    "names.csv": (b"label,prompt\ncat,a cat\n", "a CSV table"),
    "quoted.txt": (b'"cat","a cat"\n"dog","a dog"\n', "quoted as in a CSV table"),
    "counts.tsv": (b"cat\t12\ndog\t7\n", "labels and numbers"),
    "wide.tsv": (b"cat\ta\tb\n", "is no label and prompt"),
    "half.tsv": (b"cat\ta\ndog\t\n", "is no label and prompt"),
    "nameless.tsv": (b"cat\ta\n\tb\n", "is no label and prompt"),
    "page.html": (b"<!DOCTYPE html><p>cat", "HTML or XML"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_labels_are_read_however_they_are_written(tmp_path, name):
    content, labels = TAKEN[name]
    (tmp_path / name).write_bytes(content)
    found = read_labels(str(tmp_path / name))
    assert found == labels
    assert list(found) == list(labels)  # in their order


@pytest.mark.parametrize("name", REFUSED)
def test_what_holds_no_labels_is_refused_by_name(tmp_path, name):
    content, reason = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_labels(str(tmp_path / name))
    assert reason in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("imagnet", "did you mean --labels imagenet?"),
        ("Cifar10", "did you mean --labels cifar10?"),
        ("cat", "if these are the labels themselves, write -l cat"),
        ("cat, a dog", "write -l cat -l 'a dog'"),
        ("labels.txt", f"built-in presets are {', '.join(LABEL_PRESETS)}"),
        ("a/b", "built-in presets are"),
    ],
)
def test_a_name_that_is_no_files_is_answered_with_what_may_be_meant(
    tmp_path, monkeypatch, name, advice
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        read_labels(name)
    assert "No such file" in str(caught.value)
    assert advice in str(caught.value)


def test_labels_come_on_standard_input(monkeypatch):
    stdin = SimpleNamespace(buffer=io.BytesIO(b"a cat\nno\n"))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert read_labels("-") == PLAIN
    with pytest.raises(UsageError, match="no labels in standard input"):
        read_labels("-")
