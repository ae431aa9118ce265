"""`clipcli models --available` and `--json`; what it says of prepared models is in test_pull."""

import json
import sys

import pytest
from startup import HEAVY, PROGRAM, loaded_modules

from clipcli.cli.commands.models import models
from clipcli.cli.console import Console
from clipcli.models import catalogue


def test_a_pipe_gets_columns_between_tabs_and_nothing_else(clipcli):
    run = clipcli("models", "--available")
    assert (run.returncode, run.stderr) == (0, b"")
    rows = [line.split("\t") for line in run.stdout.decode().splitlines()]
    assert len(rows) == len(catalogue.available())
    assert {len(row) for row in rows} == {6}
    by_name = {row[0]: row[1:] for row in rows}
    assert by_name["ViT-B-32:laion2b_s34b_b79k"] == ["151.3", "224", "512", "66.6", ""]
    assert by_name["ViT-S-32"][3:] == ["", "no published weights: needs --checkpoint"]
    assert by_name["ViTamin-S:datacomp1b"][4] == "published only as a pickle: needs --allow-pickle"
    assert by_name["nllb-clip-base:v1"][4] == "needs the package transformers"


def test_a_terminal_gets_headings_units_and_aligned_columns(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    models.main(["--available", "vit-b-32:laion2b"], standalone_mode=False, obj=Console())
    lines = capsys.readouterr().out.splitlines()
    heading = lines[0]
    (row,) = (line for line in lines if line.startswith("ViT-B-32:laion2b_s34b_b79k"))
    assert heading.split() == ["model", "parameters", "image", "embedding", "ImageNet"]
    for word, cell in zip(heading.split()[1:], ("151.3 M", "224 px", "512", "66.6 %"), strict=True):
        assert heading.index(word) + len(word) == row.index(cell) + len(cell)
    assert all(line == line.rstrip() for line in lines)


def test_json_has_a_record_for_each(clipcli):
    run = clipcli("models", "--available", "mobileclip-s1", "--json")
    assert (run.returncode, run.stderr) == (0, b"")
    (record,) = json.loads(run.stdout)
    assert record == {
        "name": "MobileCLIP-S1:datacompdr",
        "weights": "safetensors",
        "parameters": record["parameters"],
        "image_size": 256,
        "embed_dim": 512,
        "quick_gelu": False,
        "needs_transformers": False,
        "imagenet_top1": None,
    }
    assert record["parameters"] > 80


def test_json_of_what_is_at_hand_has_fingerprints(clipcli):
    (bundled,) = json.loads(clipcli("models", "--json").stdout)
    assert (bundled["kind"], bundled["model"], bundled["precision"]) == ("bundled", "tiny", "fp32")
    assert len(bundled["fingerprint"]) == 32
    assert bundled["bytes"] > 30_000_000


def test_json_of_a_damaged_model_says_why(clipcli, tmp_path):
    (tmp_path / "models" / "broken").mkdir(parents=True)
    run = clipcli("models", "--json", env={"CLIPCLI_CACHE_DIR": str(tmp_path)})
    _, damaged = json.loads(run.stdout)
    assert (damaged["kind"], damaged["model"]) == ("damaged", None)
    assert "manifest.json cannot be used" in damaged["reason"]
    assert damaged["folder"].endswith("broken")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--available vit-b-23", "like 'vit-b-23' (did you mean ViT-B-32 or "),
        (
            "--available qwxyz",
            "has no model like 'qwxyz': 'clipcli models --available' lists all",
        ),
        ("vit", "a PATTERN goes with --available: clipcli models --available vit"),
        ("--remove tiny --json", "--remove goes with no other option"),
        ("--remove tiny --available", "--remove goes with no other option"),
        ("--remove tiny vit", "--remove goes with no other option"),
    ],
)
def test_what_cannot_be_listed_is_a_usage_error(clipcli, line, message):
    run = clipcli("models", *line.split())
    assert (run.returncode, run.stdout) == (2, b"")
    assert message in run.stderr.decode()


@pytest.mark.parametrize("line", ["models --available", "models --available vit --json"])
def test_the_catalogue_is_read_without_any_heavy_library(line):
    modules, code = loaded_modules(PROGRAM, *line.split())
    assert code == 0
    assert modules & HEAVY == set()
