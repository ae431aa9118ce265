"""A torch model -> a prepared bundle, checked against torch before it counts."""

from __future__ import annotations

import platform
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx
import torch

from clipcli.disk.folders import remove_abandoned, temporary_folder
from clipcli.engines.base import EngineOptions, fingerprint
from clipcli.engines.onnx import OnnxEngine
from clipcli.engines.parity import check_parity
from clipcli.engines.runtime import onnxruntime
from clipcli.engines.torch.openclip import OpenClipEngine
from clipcli.engines.torch.switches import silence, without_fast_path
from clipcli.engines.unrelated import unrelated_cosines
from clipcli.errors import DISK_FULL, ModelError
from clipcli.models.bundles import (
    IMAGE_GRAPH,
    TEXT_GRAPH,
    TOKENIZER_FILE,
    Bundle,
    bundle_folder,
    check_preparable,
    install,
    open_bundle,
)
from clipcli.models.configurations import MANIFEST_FILE
from clipcli.models.manifests import FORMAT, Manifest, record_file
from clipcli.models.specs import ModelSpec
from clipcli.models.tokenizers.clip import ClipTokenizer, write_tokenizer_file
from clipcli.models.tokenizers.hub import HubTokenizer
from clipcli.process import unchanged
from clipcli.version import __version__

_INLINE_BYTES = 1024  # smaller tensors stay in the graph's own file
_MOST_AT_ONCE = 1 << 16
_PRODUCTS = ("MatMul", "Gemm")


@dataclass(frozen=True)
class Preparation:
    """What is prepared, and who is told of the steps.

    Attributes:
        spec: the model.
        weights: its weights file.
        precision: `fp32` or `int8`.
        tell: called with a line for each step.
    """

    spec: ModelSpec
    weights: Path
    precision: str
    tell: Callable[[str], None]


def prepare(preparation: Preparation, destination: Path | None = None) -> Bundle:
    """Export, optimise and check a model, then move its bundle into place.

    Args:
        preparation: what is prepared.
        destination: the bundle's folder; by default where `find_bundle` looks.

    Raises:
        ModelError: the model cannot be exported, its bundle does not agree with torch, or it
            cannot be written, for want of space, say; nothing half-made is left.
    """
    check_preparable(preparation.spec)
    folder = destination or bundle_folder(preparation.spec, preparation.precision)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder.parent)
        _prepare(preparation, folder)
    except OSError as error:
        text = f"the prepared model cannot be written to {folder} ({error.strerror or error})"
        if error.errno in DISK_FULL:
            text += ": make room there, or set CLIPCLI_CACHE_DIR to a folder on another disk"
        raise ModelError(text) from error
    return open_bundle(folder)


def _prepare(preparation: Preparation, folder: Path) -> None:
    temporary = temporary_folder(folder)
    preparation.tell("loading the model into torch")
    reference = OpenClipEngine(preparation.spec, preparation.weights, EngineOptions("cpu"))
    try:
        # Beside its place, on the same file system: a rename is then one step.
        temporary.mkdir()
        _write_tokenizer(reference, temporary / TOKENIZER_FILE)
        _write_graphs(reference, temporary, preparation)
        manifest = _manifest(reference, temporary, preparation, parity={})
        preparation.tell("checking it against torch")
        prepared = OnnxEngine(Bundle(temporary, manifest), EngineOptions("cpu", image_count=1))
        parity = check_parity(prepared, reference, preparation.precision)
        finished = replace(manifest, parity=parity, unrelated_cosines=unrelated_cosines(prepared))
        (temporary / MANIFEST_FILE).write_text(finished.to_json(), encoding="utf-8")
        install(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_tokenizer(engine: OpenClipEngine, file: Path) -> None:
    match engine.tokenizer:
        case ClipTokenizer():
            write_tokenizer_file(file)
        case HubTokenizer() as tokenizer:
            shutil.copyfile(tokenizer.file, file)
        case _:
            reason = "only the package transformers can read its tokenizer"
            raise ModelError(f"{engine.info.name} cannot be prepared: {reason}")


def _write_graphs(engine: OpenClipEngine, folder: Path, preparation: Preparation) -> None:
    scratch = folder / "scratch"
    scratch.mkdir()
    height, width = engine.info.preprocess.size
    rows = torch.export.Dim("rows", min=1, max=_MOST_AT_ONCE)
    preparation.tell("exporting the image tower")
    # Two rows: of one the exporter would make a constant.
    images = torch.zeros(2, 3, height, width)
    raw = _export(engine.image_tower(), images, {0: rows}, scratch / IMAGE_GRAPH)
    if preparation.precision == "int8":
        raw = _quantised(raw)
    _optimise(raw, folder / IMAGE_GRAPH)
    preparation.tell("exporting the text tower")
    context = engine.info.context_length
    # An example as long as the context would fix the length.
    length = max(2, context // 2) if engine.info.short_context else context
    tokens = torch.ones(2, length, dtype=torch.int64)
    shape = {0: rows}
    if engine.info.short_context:
        shape[1] = torch.export.Dim("length", min=2, max=context)
    raw = _export(engine.text_tower(), tokens, shape, scratch / TEXT_GRAPH)
    _optimise(raw, folder / TEXT_GRAPH)
    shutil.rmtree(scratch)


def _export(
    tower: torch.nn.Module, example: torch.Tensor, shape: dict[int, Any], file: Path
) -> Path:
    """Write one tower as torch exports it."""
    try:
        with _quiet():
            program = torch.onnx.export(
                tower,
                (example,),
                dynamo=True,
                dynamic_shapes=(shape,),
                input_names=["input"],
                output_names=["embeddings"],
                verbose=False,
            )
    except Exception as error:
        raise ModelError(f"this architecture cannot be prepared ({_line(error)})") from error
    assert program is not None
    program.save(file, external_data=True)
    return file


def _line(error: Exception) -> str:
    """The root of an exporter's error, in a line; what lies above it are its own steps."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _optimise(raw: Path, file: Path) -> None:
    """Write a graph as ONNX Runtime optimises it, its weights in a file beside it.

    Extended optimisations at most: the full level writes instructions for one machine.
    """
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    settings.optimized_model_filepath = str(file)
    entry = "session.optimized_model_external_initializers"
    settings.add_session_config_entry(f"{entry}_file_name", f"{file.name}.data")
    settings.add_session_config_entry(f"{entry}_min_size_in_bytes", str(_INLINE_BYTES))
    try:
        onnxruntime.InferenceSession(raw, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # a full disk, too, is an error of its own kind
        raise ModelError(f"ONNX Runtime cannot write {file.name} ({_line(error)})") from error


def _quantised(raw: Path) -> Path:
    """The image tower with 8-bit weights, its activations' scales taken image by image.

    `reduce_range` keeps sums of products of 8-bit numbers from saturating on AVX2. The last
    product, the projection into the shared space, stays exact: it costs nothing, and most of the
    error came from it. So does the text tower, which runs once a label.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    file = raw.with_suffix(".int8.onnx")
    with _quiet():
        quantize_dynamic(
            raw,
            file,
            op_types_to_quantize=list(_PRODUCTS),
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            nodes_to_exclude=_last_product(raw),
            use_external_data_format=True,
        )
    return file


def _last_product(raw: Path) -> list[str]:
    """The name of the last product with weights in a graph."""
    graph = onnx.load(raw, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type in _PRODUCTS]
    return [node.name for node in products if weights & set(node.input)][-1:]


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters speak of their own inner workings."""
    with without_fast_path(), silence(), unchanged():
        warnings.simplefilter("ignore")
        yield


def _manifest(
    engine: OpenClipEngine, folder: Path, preparation: Preparation, parity: dict[str, float]
) -> Manifest:
    info, spec = engine.info, preparation.spec
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    return Manifest(
        format=FORMAT,
        model=info.name,
        fingerprint=fingerprint(
            engine.weights_sha256, engine.identity, info.preprocess, preparation.precision
        ),
        precision=preparation.precision,
        weights_sha256=engine.weights_sha256,
        config=dict(spec.config),
        preprocess=asdict(info.preprocess),
        embed_dim=info.embed_dim,
        context_length=info.context_length,
        short_context=info.short_context,
        clean=spec.text_cleaning,
        hub_tokenizer=(
            asdict(engine.tokenizer.config) if isinstance(engine.tokenizer, HubTokenizer) else None
        ),
        logit_scale=info.logit_scale,
        logit_bias=info.logit_bias,
        activation=info.activation,
        versions=_versions(),
        parity=parity,
        files={name: record_file(folder / name) for name in names},
    )


def _versions() -> dict[str, str]:
    packages = ("torch", "open_clip_torch", "onnxruntime")
    found = {package: metadata.version(package) for package in packages}
    return {"clipcli": __version__, **found, "machine": platform.machine()}
