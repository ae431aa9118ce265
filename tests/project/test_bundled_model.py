"""What is said of the bundled model is true; other weights take its place in one command."""

from __future__ import annotations

import hashlib
import json
import re
import shutil

import pytest
from bundle_copies import MANIFEST, MODEL_FILES, TINY
from command import ROOT

from scripts import docs_pictures, replace_tiny

CARD = (TINY / "README.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIG = json.loads((TINY / "open_clip_config.json").read_text())


def test_the_card_describes_the_files():
    weights = (TINY / "open_clip_model.safetensors").read_bytes()
    sha256 = hashlib.sha256(weights).hexdigest()
    vision, text = CONFIG["model_cfg"]["vision_cfg"], CONFIG["model_cfg"]["text_cfg"]
    side, scale = vision["image_size"], MANIFEST["logit_scale"]
    for told in (
        f"| sha256 | `{sha256}` |",
        f"`{vision['timm_model_name']}`",
        f"{side} by {side} pixels",
        f"shortest side to {side} bicubic",
        f"| text tower | {text['layers']} transformer layers of width {text['width']}, ",
        f"| embedding | {CONFIG['model_cfg']['embed_dim']}; ",
        f"`logit_scale.exp()` {scale:.3g} |",
        f": {len(weights) / 1e6:.0f} MB |",
    ):
        assert told in CARD
    assert sha256 == MANIFEST["weights_sha256"]


def test_figures_have_one_place():
    """Whoever measures anew writes the card; the README repeats some of it."""
    (section,) = re.findall(r"^### The bundled model.*?(?=^##)", README, re.M | re.S)
    quoted = re.findall(r"[\d.]+ %", section)
    assert len(quoted) >= 4
    assert [figure for figure in quoted if figure not in CARD] == []
    parts = [CARD.index(f"**{part}:") for part in ("Clean", "Held out", "Contaminated")]
    assert parts == sorted(parts)


def test_both_engines_agreed_when_it_was_prepared():
    for tower in ("image", "text"):
        assert MANIFEST["parity"][f"{tower}_difference"] < 1e-5


def test_the_licences_of_what_it_is_made_of_come_with_it():
    assert "Apache License\n                           Version 2.0" in (
        TINY / "LICENSE-APACHE"
    ).read_text(encoding="utf-8")
    notice = (TINY / "NOTICE").read_text(encoding="utf-8")
    assert "Copyright (c) 2020, ML Illustrated" in notice
    assert "WordNet 3.0 Copyright 2006 by Princeton University." in notice


def test_other_weights_take_its_place_in_one_command(tmp_path, monkeypatch, capsys):
    shutil.copytree(TINY, tmp_path / "tiny")
    other = tmp_path / "other"
    other.mkdir()
    (other / MODEL_FILES[0]).write_text("{}")
    (other / MODEL_FILES[1]).write_bytes(b"weights")
    tiny, steps = tmp_path / "tiny", []

    def script(name: str, *rest: str) -> None:
        steps.append((name, *rest))
        if name == "prepare_tiny.py":
            sha256 = hashlib.sha256((tiny / MODEL_FILES[1]).read_bytes()).hexdigest()
            (tiny / "manifest.json").write_text(json.dumps({"weights_sha256": sha256}))

    monkeypatch.setattr(replace_tiny, "TINY", tiny)
    monkeypatch.setattr(replace_tiny, "CARD", tiny / "README.md")
    monkeypatch.setattr(replace_tiny, "script", script)

    replace_tiny.main([str(other), "--photos", "photos"])

    assert (tiny / MODEL_FILES[0]).read_text() == "{}"
    assert hashlib.sha256(b"weights").hexdigest() in (tiny / "README.md").read_text()
    assert [name for name, *_ in steps] == [
        *("prepare_tiny.py", "update_assets.py", "readme_commands.py", "docs_pictures.py")
    ]
    assert steps[-1][1:] == ("--photos", "photos")
    assert all((ROOT / "scripts" / name).is_file() for name, *_ in steps)
    assert "left to do" in capsys.readouterr().out
    replace_tiny.put(tiny)  # weights that are in their place already stay
    assert (tiny / MODEL_FILES[1]).read_bytes() == b"weights"


def test_a_step_that_fails_ends_it(capfd):
    with pytest.raises(SystemExit, match="2"):
        replace_tiny.script("missing.py")
    assert "missing.py" in capfd.readouterr().err


def test_a_table_of_the_readme_is_replaced_and_its_lists_are_cut():
    table = "tiny, prompts {}:\ntop-1  1 \n\nclass (lowest)  n\na\nb\nc\n\nsuggestions\nx\ny\nz\n"
    short = "tiny, prompts {}:\ntop-1  1\n\nclass (lowest)  n\na\nb\n\nsuggestions\nx\ny\nz"
    assert docs_pictures.abridged(table) == short
    text = "```text\nmodel  x\n```\n\n```text\ntiny, prompts\nold\n```\nend\n"
    found = docs_pictures.with_block(text, "tiny, new \\1")
    assert found == "```text\nmodel  x\n```\n\n```text\ntiny, new \\1\n```\nend\n"
    with pytest.raises(AssertionError, match="has 0 blocks"):
        docs_pictures.with_block(text, "other table")


def test_the_readme_says_how_many_photos_are_of_a_kind():
    labels = [label for labels in docs_pictures.KINDS.values() for label in labels.split(", ")]
    assert len(set(labels)) == len(labels)
    assert f"{len(labels)} of them sorted into ten kinds" in README
    assert len(docs_pictures.KINDS) == 10
