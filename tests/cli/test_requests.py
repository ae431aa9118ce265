"""What the hub is asked: for the files that a command names, and for nothing else."""

import json
import re

import pytest
from command import PHOTOS
from fake_hub import COMMIT, Answer, environment, serve
from small_models import CLIP, TEXT, VISION, write_model
from tokenizer_files import save as save_tokenizer
from tokenizer_files import siglip

MODEL = "hf-hub:org/name"
PHOTO = (str(PHOTOS / "chelsea.png"), "-l", "a cat", "-l", "a dog")
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
FILES = {CONFIG, WEIGHTS}
REQUEST = re.compile(rf"(?:HEAD|GET) /org/name/resolve/(?:main|{COMMIT})/([\w.]+)")
# What makes the client tell of itself, and what forbids it to.
TOLD = {"AI_AGENT": "somebody", "DO_NOT_TRACK": "", "DISABLE_TELEMETRY": ""}


# What a configuration may name that is not among its own files.
NAMES = (
    ("vision_cfg", "timm_model_name", "hf-hub:org/name"),
    ("vision_cfg", "timm_model_name", "hf_hub:org/name"),
    ("vision_cfg", "timm_model_name", "HF-HUB:org/name"),
    ("vision_cfg", "timm_model_name", "org/name"),
    ("vision_cfg", "timm_model_name", "local-dir:/etc"),
    ("vision_cfg", "timm_model_name", "/etc"),
    ("vision_cfg", "timm_model_name", "./other"),
    ("vision_cfg", "timm_model_name", "https://127.0.0.1/config.json"),
    ("text_cfg", "hf_model_name", "org/name"),
    ("text_cfg", "hf_model_name", "name"),
    ("text_cfg", "hf_model_name", "/etc"),
    ("text_cfg", "hf_model_name", "../other"),
    ("text_cfg", "hf_model_name", "link"),
    ("text_cfg", "hf_tokenizer_name", "org/name"),
    ("text_cfg", "hf_tokenizer_name", "/etc"),
    ("text_cfg", "hf_tokenizer_name", "../other"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "clip"
    write_model(folder, CLIP)
    return folder


@pytest.fixture
def hub(folder):
    with serve() as running:
        running.answers = {
            f"org/name/{name}": Answer((folder / name).read_bytes()) for name in FILES
        }
        yield running


def asked(hub):
    """The names of the files that were asked for; nothing else was."""
    matches = [REQUEST.fullmatch(line) for line in hub.requests]
    assert None not in matches, hub.requests
    return {match[1] for match in matches}


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        ((*PHOTO, "--model", MODEL), FILES),
        ((*PHOTO, "--model", MODEL, "--precision", "bf16"), FILES),
        (("embed", PHOTO[0], "-o", "x.npz", "--model", MODEL), FILES),
        ((*PHOTO, "--model", MODEL, "--precision", "int8"), {CONFIG}),
        (("models",), set()),
        (("models", "--available", "ViT-B-32"), set()),
        (("models", "--remove", MODEL), set()),
        (("cache",), set()),
        (("doctor",), set()),
    ],
)
def test_a_command_asks_for_its_files_alone(arguments, files, hub, clipcli, tmp_path):
    env = environment(hub.url, tmp_path, **TOLD)
    run = clipcli(*arguments, env=env, cwd=tmp_path)
    assert b"unexpected" not in run.stderr
    assert asked(hub) == files
    assert not (tmp_path / "hf" / ".agent_harnesses.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_so_does_a_pull_and_what_it_prepared_asks_for_nothing(precision, hub, clipcli, tmp_path):
    env = environment(hub.url, tmp_path, **TOLD)
    pulled = clipcli("pull", MODEL, "--precision", precision, env=env)
    assert pulled.returncode == 0, pulled.stderr
    assert asked(hub) == FILES
    hub.requests.clear()
    run = clipcli(*PHOTO, "--model", MODEL, "--precision", precision, env=env)
    assert run.returncode == 0, run.stderr
    assert hub.requests == []


class TestLocalFolder:
    """Whatever a local folder's configuration names, the hub is not asked."""

    @pytest.mark.parametrize(("tower", "field", "name"), NAMES)
    @pytest.mark.parametrize("engine", ["auto", "torch"])
    def test_a_name_that_leads_out_of_it_is_refused(
        self, tower, field, name, engine, folder, hub, clipcli, tmp_path
    ):
        copy = self.copy(folder, tmp_path, tower, {field: name})
        other = tmp_path / "other"
        other.mkdir()
        (other / "config.json").write_text("{}")
        (copy / "link").symlink_to(other)
        env = environment(hub.url, tmp_path, HF_TOKEN="hf_secret")
        run = clipcli(*PHOTO, "--model", copy, "--engine", engine, env=env, cwd=tmp_path)
        assert (run.returncode, run.stdout) == (5, b"")
        assert field in run.stderr.decode()
        assert hub.requests == []
        assert run.stderr.count(b"\n") == 1

    @pytest.mark.parametrize(
        ("tower", "field", "words"),
        [
            ("vision_cfg", "timm_model_name", "--allow-remote-names"),
            ("text_cfg", "hf_model_name", "--allow-remote-names"),
        ],
    )
    def test_the_way_out_is_named_and_asks_for_one_file(
        self, tower, field, words, folder, hub, clipcli, tmp_path
    ):
        name = "hf-hub:org/name" if field == "timm_model_name" else "org/name"
        copy = self.copy(folder, tmp_path, tower, {field: name})
        env = environment(hub.url, tmp_path)
        assert words in clipcli(*PHOTO, "--model", copy, env=env).stderr.decode()
        hub.answers["org/name/config.json"] = Answer(json.dumps({"auto_map": {}}).encode())
        run = clipcli(*PHOTO, "--model", copy, words, env=env)
        assert run.returncode == 5
        # Without transformers a text tower of theirs is refused before.
        assert b"asks for a program of its own" in run.stderr or field == "hf_model_name"
        assert asked(hub) <= {"config.json"}

    def test_a_vision_tower_of_the_hub_is_built_as_its_configuration_says(
        self, folder, hub, clipcli, tmp_path
    ):
        copy = self.copy(folder, tmp_path, "vision_cfg", {"timm_model_name": "hf-hub:org/name"})
        theirs = {"architecture": "no_such_architecture", "num_classes": 0}
        hub.answers["org/name/config.json"] = Answer(json.dumps(theirs).encode())
        env = environment(hub.url, tmp_path)
        run = clipcli(*PHOTO, "--model", copy, "--allow-remote-names", env=env)
        assert run.returncode == 5
        assert "no_such_architecture" in run.stderr.decode()
        assert asked(hub) == {"config.json"}

    def test_a_tokenizer_that_is_in_the_folder_is_taken_whatever_its_name(
        self, hub, clipcli, tmp_path
    ):
        folder = tmp_path / "clip"
        text = {**TEXT, "hf_tokenizer_name": "org/name", "vocab_size": 600, "pool_type": "last"}
        write_model(folder, {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": text})
        save_tokenizer(folder, *siglip())
        env = environment(hub.url, tmp_path)
        assert clipcli(*PHOTO, "--model", folder, env=env).returncode == 0
        assert hub.requests == []
        # One that is not is fetched where that is allowed.
        for name in ("tokenizer.json", "tokenizer_config.json"):
            hub.answers[f"org/name/{name}"] = Answer((folder / name).read_bytes())
            (folder / name).unlink()
        run = clipcli(*PHOTO, "--model", folder, "--allow-remote-names", env=env)
        assert run.returncode == 0, run.stderr
        assert asked(hub) <= {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}

    def copy(self, folder, tmp_path, tower, change):
        copy = tmp_path / "copy"
        copy.mkdir()
        content = json.loads((folder / CONFIG).read_text())
        content["model_cfg"][tower] |= change
        (copy / CONFIG).write_text(json.dumps(content))
        (copy / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes())
        return copy
