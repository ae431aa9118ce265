"""A start that needs no model loads none of the heavy libraries."""

from __future__ import annotations

import pytest
from startup import HEAVY, PROGRAM, loaded_modules

STARTS = [
    ("", 2),
    ("--help", 0),
    ("classify --help", 0),
    ("pull --help", 0),
    ("models --help", 0),
    ("models --available", 0),
    ("doctor --help", 0),
    ("embed --help", 0),
    ("eval --help", 0),
    ("eval gone.csv", 2),
    ("explain --help", 0),
    ("explain x.png -l a", 2),
    ("convert --help", 0),
    ("cache --help", 0),
    ("--version", 0),
    ("completion bash", 0),
    ("x.png -l a -l b --bogus", 2),
    ("-l a -l b", 2),
    ("x.png", 2),
    ("x.png -l a", 2),
    ("x.png -l a -l a", 2),
    ("x.png --labels gone.txt", 2),
    ("x.png --labels imagenet -t openai80 --expect bogus", 2),
    ("x.png -l a -l b --expect c", 2),
    ("x.png -l a -l b --device tpu", 2),
    ("x.png -l a -l b --device cpu --precision fp16", 2),
    ("x.png -l a -l b --json --jsonl", 2),
    ("x.png -l a -l b --engine onnx --device cuda", 2),
    ("pull", 2),
    ("pull nope", 5),
    ("x.png -l a -l b --model nope", 5),
]


@pytest.mark.parametrize(("line", "code"), STARTS)
def test_a_start_without_a_model_is_light(line, code):
    modules, found = loaded_modules(PROGRAM, *line.split())
    assert found == code
    assert "clipcli.cli.main" in modules
    assert modules & HEAVY == set()


def test_import_clipcli_is_light():
    program = "import sys, json, clipcli; sys.stderr.write(json.dumps(sorted(sys.modules)))"
    modules, _ = loaded_modules(program)
    assert modules & HEAVY == set()
    assert {name for name in modules if name.startswith("clipcli")} == {"clipcli"}


def test_an_answer_from_a_prepared_model_loads_neither_torch_nor_the_network(photos):
    line = (str(photos / "chelsea.png"), "-l", "cat", "-l", "dog", "--model", "tiny")
    modules, code = loaded_modules(PROGRAM, *line)
    needed = {"numpy", "onnxruntime", "PIL"}
    assert code == 0
    assert modules & HEAVY == needed
    assert (
        modules & {"clipcli.images.web.fetch", "clipcli.engines.torch.export", "platformdirs"}
        == set()
    )
