"""A model that is not here while its hub gives nothing: what is told, and what helps there."""

import re
import socket

import pytest
from fake_hub import Answer, Fault, environment, serve
from web_server import answer
from web_server import serve as serve_web

from clipcli import Classifier
from clipcli.errors import UnavailableModelError
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest
from clipcli.models.weights import fetch_model

DOWN = "is not on this computer and the hub cannot be reached: "
TINY = "`--model tiny` works without"
LABELS = ("-l", "cat", "-l", "dog")


@pytest.fixture(scope="module")
def nobody():
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


def told(run):
    """The one line on standard error."""
    assert (run.returncode, run.stdout) == (5, b"")
    (line,) = run.stderr.decode().splitlines()
    return line.removeprefix("clipcli: ")


# What is typed -> what is told after the model's name as it was typed.
COMMANDS = {
    ("PHOTO", *LABELS): f"ViT-B/32 {DOWN}{TINY}; `clipcli pull ViT-B/32` once with a network",
    ("PHOTO", *LABELS, "-m", "ViT-B-16:laion2b_s34b_b88k", "-q"): (
        f"ViT-B-16:laion2b_s34b_b88k {DOWN}{TINY};"
        " `clipcli pull ViT-B-16:laion2b_s34b_b88k` once with a network"
    ),
    ("PHOTO", *LABELS, "-m", "hf-hub:org/name"): (
        f"hf-hub:org/name {DOWN}{TINY}; `clipcli pull hf-hub:org/name` once with a network"
    ),
    # The bundled model takes no revision.
    ("PHOTO", *LABELS, "-m", "hf-hub:org/name", "--revision", "v1"): (
        f"hf-hub:org/name {DOWN}`clipcli pull hf-hub:org/name --revision v1` once with a network"
    ),
    ("embed", "PHOTO", "-o", "x.npz"): (
        f"ViT-B/32 {DOWN}{TINY}; `clipcli pull ViT-B/32` once with a network"
    ),
    ("explain", "PHOTO", *LABELS, "-o", "x.png"): (
        f"ViT-B/32 {DOWN}{TINY}; `clipcli pull ViT-B/32` once with a network"
    ),
    ("eval", "DATA"): f"ViT-B/32 {DOWN}{TINY}; `clipcli pull ViT-B/32` once with a network",
    # Another model in the first one's place would leave this one missing.
    ("eval", "DATA", "-m", "tiny", "--compare-models", "ViT-B/32"): (
        f"ViT-B/32 {DOWN}`clipcli pull ViT-B/32` once with a network"
    ),
    ("pull", "ViT-B/32"): f"ViT-B/32 {DOWN}the same command once with a network",
    ("pull", "hf-hub:org/name", "--precision", "int8"): (
        f"hf-hub:org/name {DOWN}the same command once with a network"
    ),
    # What is missing is not the weights.
    ("PHOTO", *LABELS, "-m", "ViT-B-16-SigLIP", "--checkpoint", "w.safetensors"): (
        f"timm/ViT-B-16-SigLIP/tokenizer.json, which ViT-B-16-SigLIP needs, {DOWN}`clipcli pull"
        " ViT-B-16-SigLIP --checkpoint w.safetensors` once with a network"
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photos):
    data = tmp_path_factory.mktemp("run")
    for name in ("cat", "dog"):
        (data / name).mkdir()
        (data / name / "chelsea.png").symlink_to(photos / "chelsea.png")
    (data / "w.safetensors").write_bytes(b"")
    return data


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_each_command_says_what_helps_there(clipcli, nobody, folder, tmp_path, photos, words):
    places = {"PHOTO": str(photos / "chelsea.png"), "DATA": str(folder)}
    arguments = [places.get(word, word) for word in words]
    run = clipcli(*arguments, cwd=folder, env=environment(nobody, tmp_path))
    assert told(run) == COMMANDS[words]


@pytest.mark.parametrize("switch", ["-v", "--debug"])
@pytest.mark.parametrize("command", [("classify", "x.png", *LABELS, "-m"), ("pull",)])
def test_the_address_and_the_systems_reason_are_for_those_who_ask(
    clipcli, nobody, tmp_path, switch, command
):
    run = clipcli(*command, "hf-hub:org/name", switch, env=environment(nobody, tmp_path))
    *_, message, detail = run.stderr.decode().splitlines()
    assert message.startswith(f"clipcli: hf-hub:org/name {DOWN}")
    address = f"{nobody}/org/name/resolve/main/open_clip_config.json"
    assert re.fullmatch(rf"clipcli: {address}: \[Errno \d+\] Connection refused", detail)


@pytest.mark.parametrize(
    ("options", "variables", "forbids"),
    [
        (("--offline",), {}, "--offline"),
        ((), {"CLIPCLI_OFFLINE": "1"}, "CLIPCLI_OFFLINE"),
        ((), {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE"),
        ((), {"TRANSFORMERS_OFFLINE": "yes"}, "TRANSFORMERS_OFFLINE"),
        # The variable is what keeps `pull` from it, too.
        (("--offline",), {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE"),
    ],
)
@pytest.mark.parametrize("model", ["ViT-B/32", "hf-hub:org/name", "ViT-B-16-SigLIP:webli"])
def test_offline_is_told_by_the_word_that_set_it(
    clipcli, nobody, tmp_path, options, variables, forbids, model
):
    env = environment(nobody, tmp_path, **variables)
    line = told(clipcli("x.png", *LABELS, "-m", model, *options, env=env))
    assert line == (
        f"{model} is not on this computer and offline is set ({forbids}): {TINY};"
        f" `clipcli pull {model}` once without {forbids}"
    )


def test_a_hub_that_is_down_is_not_taken_for_a_missing_network(clipcli, tmp_path):
    with serve() as hub:
        busy = [Fault("busy", method="HEAD", retry_after="86400")]
        hub.answers = {"org/name/open_clip_config.json": Answer(faults=busy)}
        run = clipcli("pull", "hf-hub:org/name", env=environment(hub.url, tmp_path))
    assert told(run) == (
        "hf-hub:org/name is not on this computer and the hub answered 503, and asks to wait"
        " 86400 s: the same command once it answers again"
    )


def test_a_proxy_that_refuses_is_named(clipcli, tmp_path):
    with serve_web({"hub.test:443": answer(status=407)}) as proxy:
        variables = {"HTTPS_PROXY": proxy.url(), "NO_PROXY": ""}
        env = environment("https://hub.test", tmp_path, **variables)
        run = clipcli("x.png", *LABELS, env=env)
    assert told(run) == (
        "ViT-B/32 is not on this computer and the proxy on the way to the hub refuses: "
        f"{TINY}; `clipcli pull ViT-B/32` once HTTPS_PROXY names another"
    )


def test_a_certificate_that_nobody_vouches_for_is_told(clipcli, tmp_path):
    with serve_web({}, tls=True) as hub:
        run = clipcli("pull", "ViT-B/32", env=environment(hub.url(""), tmp_path))
    assert told(run) == (
        "ViT-B/32 is not on this computer and the hub's certificate is not trusted here: the same"
        " command once SSL_CERT_FILE names the certificates to be trusted"
    )


def test_a_cache_that_holds_a_part_is_no_model(clipcli, nobody, tmp_path):
    config = b'{"model_cfg": {"embed_dim": 1, "vision_cfg": {}, "text_cfg": {}}}'
    with serve() as hub:
        away = Answer(faults=[Fault("busy", method="HEAD", retry_after="86400")])
        hub.answers = {
            "org/name/open_clip_config.json": Answer(config),
            "org/name/open_clip_model.safetensors": away,
        }
        first = clipcli("pull", "hf-hub:org/name", env=environment(hub.url, tmp_path))
    assert "is not on this computer and the hub answered 503" in told(first)
    run = clipcli("x.png", *LABELS, "-m", "hf-hub:org/name", env=environment(nobody, tmp_path))
    line = f"hf-hub:org/name {DOWN}{TINY}; `clipcli pull hf-hub:org/name` once with a network"
    assert told(run) == line


def test_what_the_hub_refuses_begins_with_the_models_name_and_has_no_address(clipcli, tmp_path):
    with serve() as hub:
        hub.answers = {"org/gated/a.txt": Answer()}
        answers = {"org/gated/open_clip_config.json": Answer(status=401, error="GatedRepo")}
        hub.answers |= answers
        env = environment(hub.url, tmp_path)
        gated = told(clipcli("x.png", *LABELS, "-m", "hf-hub:org/gated", env=env))
        absent = told(clipcli("pull", "hf-hub:org/absent", env=env))
    assert gated == (
        "hf-hub:org/gated cannot be had (org/gated/open_clip_config.json: the repository is gated:"
        " ask for access on its page, then `hf auth login`): `--model ./FOLDER` takes a model's"
        " folder that is here; `--model tiny` works without"
    )
    assert absent == (
        "hf-hub:org/absent cannot be had (org/absent/open_clip_config.json: there is no such"
        " repository, or it is private (then `hf auth login`))"
    )


def test_in_python_it_is_told_in_pythons_words(nobody, tmp_path, monkeypatch):
    for name, value in environment(nobody, tmp_path, HF_HUB_OFFLINE="1").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UnavailableModelError) as caught:
        Classifier("ViT-B/32", engine="torch")
    assert str(caught.value) == (
        'ViT-B/32 is not on this computer and offline is set (HF_HUB_OFFLINE): `model="tiny"` works'
        " without; `clipcli pull ViT-B/32` once without HF_HUB_OFFLINE"
    )
    assert caught.value.detail.startswith(f"{nobody}/timm/")
    with pytest.raises(UnavailableModelError, match="`clipcli pull hf-hub:a/b --revision v1` once"):
        Classifier(ModelRequest("hf-hub:a/b", revision="v1"))


def test_what_cannot_be_prepared_is_not_to_be_pulled(nobody, tmp_path, monkeypatch):
    for name, value in environment(nobody, tmp_path).items():
        monkeypatch.setenv(name, value)
    spec = resolve_model(ModelRequest("nllb-clip-base:v1"))
    with pytest.raises(UnavailableModelError, match=r"the same command once without --offline$"):
        fetch_model(spec, offline=True)
