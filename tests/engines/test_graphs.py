"""A prepared model whose graph is not what its manifest says is refused before it runs."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import onnx
import pytest
from bundle_copies import MANIFEST, TINY
from command import PHOTOS
from onnx import TensorProto, helper

from clipcli.engines.base import EngineOptions, fingerprint
from clipcli.engines.graphs import check_operations
from clipcli.engines.onnx import OnnxEngine
from clipcli.errors import ModelError
from clipcli.heads.labels import LabelSet
from clipcli.heads.text_cache import TextCache
from clipcli.heads.zero_shot import build_head
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.models.bundles import open_bundle
from clipcli.models.configurations import MANIFEST_FILE
from clipcli.models.manifests import record_file

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
WIDTH = MANIFEST["embed_dim"]
HALF = WIDTH // 2
SIDE, _ = SIZE = MANIFEST["preprocess"]["size"]
PIXELS = ["rows", 3, *SIZE]
TOKENS = ["rows", "length"]
ROWS = ["rows", WIDTH]
LABELS = LabelSet(("a cat", "a dog"))


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name, array):
    tensor = onnx.numpy_helper.from_array(np.asarray(array), name)
    return helper.make_node("Constant", [], [name], value=tensor)


def model(nodes, inputs, outputs, **more):
    graph = helper.make_graph(nodes, "graph", inputs, outputs)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, **more)


def widened(shape, given=ROWS):
    """Nodes from an input to embeddings: its largest numbers, as often as the output is wide."""
    width = [size if isinstance(size, int) else WIDTH for size in given[1:]]
    return [
        constant("zero", np.zeros(width, np.float32)),
        constant("axes", np.asarray(range(1, len(shape)), np.int64)),
        constant("sizes", np.asarray([-1, *[1] * len(width)], np.int64)),
        helper.make_node("Cast", ["input"], ["numbers"], to=FLOAT),
        helper.make_node("ReduceMax", ["numbers", "axes"], ["column"]),
        helper.make_node("Reshape", ["column", "sizes"], ["flat"]),
        helper.make_node("Add", ["flat", "zero"], ["embeddings"]),
    ]


def tower(taken=PIXELS, given=ROWS, kind=FLOAT, gives=FLOAT, outputs=1, inputs=1):
    """A graph of these inputs and outputs."""
    nodes = widened(taken, given)
    extra = [value(f"more{i}", FLOAT, [1]) for i in range(1, inputs)]
    nodes += [helper.make_node("Identity", ["embeddings"], [f"out{i}"]) for i in range(1, outputs)]
    outs = [value("embeddings", gives, given)]
    outs += [value(f"out{i}", FLOAT, given) for i in range(1, outputs)]
    return model(nodes, [value("input", kind, taken), *extra], outs)


def endless(operation="Loop", name=""):
    """A graph with a loop whose condition stays true for ever."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["still"]),
            helper.make_node("Identity", ["state"], ["next"]),
        ],
        "body",
        [value("turn", INT, []), value("going", TensorProto.BOOL, []), value("state", FLOAT, None)],
        [value("still", TensorProto.BOOL, []), value("next", FLOAT, None)],
    )
    nodes = [
        *widened(PIXELS),
        constant("true", np.asarray(True)),
        helper.make_node(operation, ["", "true", "embeddings"], ["result"], name=name, body=body),
    ]
    return model(nodes, [value("input", FLOAT, PIXELS)], [value("result", FLOAT, ROWS)])


def hidden():
    """The same within a branch."""
    inner = endless().graph.node
    then = helper.make_graph(inner, "then", [], [value("result", FLOAT, ROWS)])
    nodes = [
        constant("always", np.asarray(True)),
        helper.make_node("If", ["always"], ["chosen"], then_branch=then, else_branch=then),
    ]
    return model(nodes, [value("input", FLOAT, PIXELS)], [value("chosen", FLOAT, ROWS)])


def in_function():
    """The same in a function of the model's own."""
    body = endless().graph.node
    function = helper.make_function(
        "own", "Own", ["input"], ["result"], body, [helper.make_opsetid("", 18)]
    )
    nodes = [helper.make_node("Own", ["input"], ["result"], domain="own")]
    return model(
        nodes,
        [value("input", FLOAT, PIXELS)],
        [value("result", FLOAT, ROWS)],
        functions=[function],
    )


def foreign_operation():
    nodes = [helper.make_node("Evil", ["input"], ["embeddings"], domain="evil")]
    return model(nodes, [value("input", FLOAT, PIXELS)], [value("embeddings", FLOAT, ROWS)])


def with_weights_elsewhere(place):
    tensor = TensorProto(
        name="w", data_type=FLOAT, dims=[WIDTH], data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value=place)
    found = tower()
    found.graph.initializer.append(tensor)
    found.graph.node.append(helper.make_node("Identity", ["w"], ["unused"]))
    return found


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(TINY, tmp_path / "bundle")
    return tmp_path / "bundle"


def write(folder, graph=None, file="image.onnx", **change):
    """Change a bundle as somebody would who wants it to be taken for whole."""
    if graph is not None:
        (folder / file).write_bytes(graph.SerializeToString())
    manifest = {**MANIFEST, **change}
    names = [name for name in manifest["files"] if (folder / name).is_file()]
    manifest["files"] = {name: asdict(record_file(folder / name)) for name in names}
    pixels = PreprocessConfig.from_open_clip(manifest["preprocess"], manifest["preprocess"]["size"])
    manifest["fingerprint"] = change.get("fingerprint") or fingerprint(
        manifest["weights_sha256"], manifest["config"], pixels, manifest["precision"]
    )
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        (folder / name).unlink(missing_ok=True)
    return open_bundle(folder)


def images(engine):
    height, width = engine.info.preprocess.size
    return engine.encode_images(np.zeros((2, 3, height, width), np.float32))


def texts(engine):
    return engine.encode_tokens(engine.tokenize(["a cat"]).ids)


def test_a_graph_as_the_manifest_says_runs(folder):
    engine = OnnxEngine(write(folder, tower()), EngineOptions("cpu"))
    assert images(engine).shape == (2, WIDTH)


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (tower(outputs=2), "has 2 outputs"),
        (tower(inputs=2), "has 2 inputs"),
        (tower(given=["rows", HALF]), rf"gives tensor.float. of n x {HALF}, and by embed_dim"),
        (tower(given=["rows", WIDTH, 1]), rf"gives tensor.float. of n x {WIDTH} x 1, and by emb"),
        (tower(given=[WIDTH]), "and by embed_dim|cannot open"),
        (tower(taken=["rows", 3, 32, 32]), "takes .* n x 3 x 32 x 32, and by preprocess.size"),
        (
            tower(taken=["rows", 1, *SIZE]),
            rf"takes .* n x 1 x {SIDE} x {SIDE}, and by preprocess.size",
        ),
        (tower(taken=["rows", 64]), "takes .* n x 64, and by preprocess.size"),
        (tower(kind=INT), "takes tensor.int64. of .* by preprocess.size"),
        (tower(taken=[1, 3, *SIZE], given=[1, WIDTH]), "does not run|by preprocess.size"),
        (tower(given=["rows", "width"], taken=["rows", 3, "h", "w"]), ""),
        (endless(), "holds Loop, which may never end"),
        (endless(name="node_If"), "holds Loop, which may never end"),
        (hidden(), "holds If and Loop, which may never end"),
        (in_function(), "holds Loop, which may never end"),
        (foreign_operation(), r"cannot open .*image\.onnx: .*Evil"),
        (with_weights_elsewhere("../outside.bin"), r"cannot open .*image\.onnx"),
        (with_weights_elsewhere("/etc/passwd"), r"cannot open .*image\.onnx"),
        (with_weights_elsewhere("link.bin"), r"cannot open .*image\.onnx"),
    ],
)
def test_an_image_tower_that_is_another(graph, words, folder):
    outside = folder.parent / "outside.bin"
    outside.write_bytes(bytes(4 * WIDTH))
    (folder / "link.bin").symlink_to(outside)
    engine = OnnxEngine(write(folder, graph), EngineOptions("cpu"))
    if not words:
        assert images(engine).shape == (2, WIDTH)
        return
    with pytest.raises(ModelError, match=words) as caught:
        images(engine)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (tower(TOKENS, kind=INT, outputs=2), "has 2 outputs"),
        (tower(TOKENS, kind=FLOAT), "by context_length it is tensor.int64. of n x n"),
        (tower(["rows", 3, 64, 64]), "by context_length"),
        (tower(TOKENS, ["rows", HALF], kind=INT), "by embed_dim"),
        (tower(["rows", 16], kind=INT), "does not run|by context_length"),
    ],
)
def test_a_text_tower_that_is_another(graph, words, folder, tmp_path):
    engine = OnnxEngine(write(folder, graph, "text.onnx"), EngineOptions("cpu"))
    cache = TextCache(tmp_path / "texts.sqlite3")
    with pytest.raises(ModelError, match=words):
        build_head(engine, LABELS, cache)
    assert cache.count() == 0


def test_one_that_gives_another_width_than_it_says_is_found_when_it_runs(folder):
    graph = tower(given=["rows", "width"])
    graph.graph.node.extend(
        [
            constant("half", np.repeat(np.float32([1, 0]), HALF)),
            helper.make_node("ReduceMax", ["input"], ["most"], keepdims=0),
            helper.make_node("Greater", ["half", "most"], ["kept"]),
            helper.make_node("Compress", ["embeddings", "kept"], ["less"], axis=1),
        ]
    )
    graph.graph.output[0].name = "less"
    engine = OnnxEngine(write(folder, graph), EngineOptions("cpu"))
    with pytest.raises(
        ModelError, match=rf"gives \(2, {HALF}\), and by embed_dim it is \(2, {WIDTH}\)"
    ):
        images(engine)


@pytest.mark.parametrize("name", ["Loop", "Scan", "BeamSearch", "SequenceMap"])
def test_only_what_it_does_counts_and_not_what_it_is_called(name, tmp_path):
    graph = tower()
    graph.graph.node[0].name = f"node_{name}"
    (tmp_path / "image.onnx").write_bytes(graph.SerializeToString())
    check_operations(tmp_path / "image.onnx")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mean", [0.25, 0.25, 0.25]),
        ("std", [0.125, 0.125, 0.125]),
        ("interpolation", "bilinear"),
        ("resize_mode", "squash"),
        ("fill_color", 9),
    ],
)
def test_preprocessing_that_is_not_the_prepared_models_is_refused(field, value, folder):
    pixels = {**MANIFEST["preprocess"], field: value}
    changed = write(folder, preprocess=pixels, fingerprint=MANIFEST["fingerprint"])
    with pytest.raises(ModelError, match=r"its fingerprint is not that of its .*mean, std"):
        OnnxEngine(changed, EngineOptions("cpu"))


@pytest.mark.parametrize(
    ("graph", "file", "words"),
    [
        (tower(outputs=2), "image.onnx", b"has 2 outputs"),
        (endless(), "image.onnx", b"which may never end"),
        (tower(TOKENS, ["rows", HALF], kind=INT), "text.onnx", b"by embed_dim"),
    ],
)
def test_the_command_ends_with_5_and_says_nothing_of_good_photos(
    graph, file, words, folder, clipcli
):
    write(folder, graph, file)
    run = clipcli(
        *sorted(PHOTOS.iterdir()), "-l", "a cat", "-l", "a dog", "--no-cache", "--model", folder
    )
    assert (run.returncode, run.stdout) == (5, b"")
    assert words in run.stderr
    assert b"damaged image" not in run.stderr


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_texts_that_are_not_finite_end_it_and_are_not_kept(precision, folder, tmp_path):
    graph = tower(TOKENS, kind=INT)
    broken = [
        constant("nan", np.asarray(np.nan, np.float32)),
        helper.make_node("Add", ["embeddings", "nan"], ["spoilt"]),
    ]
    graph.graph.node.extend(broken)
    graph.graph.output[0].name = "spoilt"
    engine = OnnxEngine(write(folder, graph, "text.onnx", precision=precision), EngineOptions())
    cache = TextCache(tmp_path / "texts.sqlite3")
    with pytest.raises(ModelError, match="embeddings of texts are not finite"):
        build_head(engine, LABELS, cache)
    assert cache.count() == 0
