"""The fast engine: ONNX Runtime on the CPU, from a prepared bundle. No torch, no open_clip."""

from __future__ import annotations

import ctypes
import platform
import re
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from clipcli.arrays import Float32
from clipcli.engines.base import EngineOptions, ModelInfo, TooLittleMemoryError, fingerprint
from clipcli.engines.graphs import Signature, check_operations, check_signature
from clipcli.engines.hardware import available_cpus
from clipcli.engines.runtime import onnxruntime
from clipcli.engines.unrelated import doubt_below
from clipcli.errors import ClipcliWarning, ModelError, one_line
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.models.bundles import (
    IMAGE_GRAPH,
    TEXT_GRAPH,
    TOKENIZER_FILE,
    Bundle,
    repair,
    steadily,
)
from clipcli.process import ProcessLock, after_fork

if TYPE_CHECKING:
    from clipcli.models.manifests import Manifest
    from clipcli.models.specs import ModelSpec
    from clipcli.models.tokenizers.clip import ClipTokenizer, Tokens
    from clipcli.models.tokenizers.hub import HubTokenizer


_PROVIDERS = ["CPUExecutionProvider"]
_HANDFUL = 8
_ENGINES: WeakSet[OnnxEngine] = WeakSet()
_OUT_OF_MEMORY = re.compile("bad_?alloc|allocate memory", re.IGNORECASE)
_SIGNATURES = {IMAGE_GRAPH: Signature.of_images, TEXT_GRAPH: Signature.of_texts}


def load(
    _spec: ModelSpec,
    options: EngineOptions,
    bundle: Bundle | None,
    *,
    offline: bool,  # noqa: ARG001
) -> OnnxEngine:
    """Load a prepared model; everything is in its bundle, so that nothing is ever downloaded."""
    assert bundle is not None
    return OnnxEngine(bundle, options)


@after_fork
def _begin_again() -> None:
    for engine in _ENGINES:
        engine._begin()


def is_native(manifest: Manifest) -> bool:
    """Whether a bundle's graphs were optimised by this runtime for this kind of processor."""
    here = onnxruntime.__version__, platform.machine()
    return (manifest.versions.get("onnxruntime"), manifest.versions.get("machine")) == here


class OnnxEngine:
    """A prepared model. Its graphs are opened when they are first needed.

    Args:
        bundle: the prepared model.
        options: the number of threads, and of images; the device is the CPU.

    Raises:
        ModelError: the manifest speaks of another model; ONNX Runtime cannot open a graph, or it
            is not the manifest's (at its first use).
    """

    def __init__(self, bundle: Bundle, options: EngineOptions) -> None:
        manifest = bundle.manifest
        self._bundle = bundle
        self._is_native = is_native(manifest)
        if not (self._is_native or bundle.is_bundled):
            message = (
                f"{manifest.model} was prepared by another ONNX Runtime or on another processor"
                " and starts more slowly: 'clipcli pull MODEL' prepares it anew"
            )
            warnings.warn(message, ClipcliWarning, stacklevel=2)
        self._threads = options.threads or available_cpus()
        self._begin()
        _ENGINES.add(self)
        # Rearranging the weights for speed (prepacking) pays for itself after some images.
        self._many = options.image_count is None or options.image_count > _HANDFUL
        self.info = ModelInfo(
            name=manifest.model,
            fingerprint=manifest.fingerprint,
            engine=f"ONNX Runtime {onnxruntime.__version__} on cpu, {manifest.precision}",
            embed_dim=manifest.embed_dim,
            preprocess=PreprocessConfig.from_open_clip(
                manifest.preprocess, manifest.preprocess["size"]
            ),
            context_length=manifest.context_length,
            logit_scale=manifest.logit_scale,
            logit_bias=manifest.logit_bias,
            activation=manifest.activation,
            short_context=manifest.short_context,
            doubt_below=doubt_below(manifest.unrelated_cosines),
        )
        self._check_fingerprint()

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        """Token ids of prompts, cut and padded to the model's context length."""
        return self._tokenizer(prompts)

    def encode_images(self, pixels: Float32) -> Float32:
        """Embed preprocessed pixels: (n, 3, height, width) to (n, embed_dim), unit rows."""
        if self._bundle.manifest.precision == "fp32":
            return self._run(self._image_session, pixels)
        # Dynamic quantisation takes its scale over a whole batch: alone, an image's embedding
        # does not depend on its company.
        single = [pixels[row : row + 1] for row in range(len(pixels))]
        if not self._many:
            return np.concatenate([self._run(self._image_session, one) for one in single])
        with ThreadPoolExecutor(self._threads) as pool:
            return np.concatenate(
                list(pool.map(lambda one: self._run(self._image_session, one), single))
            )

    def encode_tokens(self, tokens: NDArray[np.int64]) -> Float32:
        """Embed token ids: (n, length) to (n, embed_dim), unit rows."""
        return self._run(self._text_session, tokens)

    def _run(self, session: onnxruntime.InferenceSession, batch: NDArray[np.generic]) -> Float32:
        try:
            result: Float32 | None = session.run(None, {session.get_inputs()[0].name: batch})[0]
        except Exception as error:
            # Its errors have a class of their own for each code, and this has none.
            if not _OUT_OF_MEMORY.search(str(error)):
                raise self._unusable(f"its graph does not run ({one_line(error)})") from error
            result = None
        if result is None:
            fewer = "use a smaller --batch-size" if len(batch) > 1 else "use a smaller model"
            raise TooLittleMemoryError(f"not enough memory for {len(batch)} at once: {fewer}")
        wanted = (len(batch), self.info.embed_dim)
        # A graph may leave its sizes open until it runs.
        if result.shape != wanted:
            raise self._unusable(f"its graph gives {result.shape}, and by embed_dim it is {wanted}")
        return result

    @cached_property
    def _tokenizer(self) -> ClipTokenizer | HubTokenizer:
        return steadily(self._bundle.folder, self._read_tokenizer)

    def _read_tokenizer(self) -> ClipTokenizer | HubTokenizer:
        # Imported here: a run whose labels are all known tokenises nothing.
        manifest, file = self._bundle.manifest, self._bundle.folder / TOKENIZER_FILE
        if manifest.hub_tokenizer is not None:
            from clipcli.models.tokenizers.hub import HubTokenizer, HubTokenizerConfig

            return HubTokenizer(HubTokenizerConfig(**manifest.hub_tokenizer), file)
        from clipcli.models.tokenizers.clip import ClipTokenizer, TokenizerConfig

        return ClipTokenizer(TokenizerConfig.from_open_clip(manifest.config["text_cfg"]), file)

    @property
    def _image_session(self) -> onnxruntime.InferenceSession:
        # Several int8 images at once, a thread each, are faster than one on all threads.
        alone = self._many and self._bundle.manifest.precision != "fp32"
        return self._session(IMAGE_GRAPH, threads=1 if alone else self._threads)

    @property
    def _text_session(self) -> onnxruntime.InferenceSession:
        return self._session(TEXT_GRAPH, threads=self._threads)

    def _session(self, graph: str, threads: int) -> onnxruntime.InferenceSession:
        with self._opening:
            if graph not in self._sessions:
                folder = self._bundle.folder
                opened = steadily(folder, lambda: self._open(graph, threads))
                self._sessions[graph] = opened
            return self._sessions[graph]

    def _begin(self) -> None:
        """Have no session yet, or (in a forked process) none any more.

        The threads of one that was opened before a fork are the parent's. It is left alone for
        ever: at its end it would wait for theirs.
        """
        for session in getattr(self, "_sessions", {}).values():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._opening = ProcessLock()

    def _open(self, graph: str, threads: int) -> onnxruntime.InferenceSession:
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.log_severity_level = 3  # its warnings are about graphs, not about this run
        levels = onnxruntime.GraphOptimizationLevel
        # A graph that was optimised by this runtime is taken as it is.
        settings.graph_optimization_level = (
            levels.ORT_DISABLE_ALL if self._is_native else levels.ORT_ENABLE_EXTENDED
        )
        if not self._many:
            # Weights stay in their memory-mapped file instead of being copied and rearranged.
            settings.add_session_config_entry("session.disable_prepacking", "1")
        path = self._bundle.folder / graph
        try:
            check_operations(path)
            session = onnxruntime.InferenceSession(path, settings, providers=_PROVIDERS)
            signature = _SIGNATURES[graph](self._bundle.manifest)
            check_signature(session.get_inputs(), session.get_outputs(), signature)
        except ValueError as error:
            raise self._unusable(f"{graph}: {one_line(error)}") from error
        except Exception as error:
            raise ModelError(
                f"ONNX Runtime cannot open {path}: {one_line(error)}. {repair(self._bundle.folder)}"
            ) from error
        return session

    def _check_fingerprint(self) -> None:
        """See that the manifest speaks of the model that was prepared.

        A changed mean, say, would still give answers; and embeddings of texts are kept by it.
        """
        manifest, identity = self._bundle.manifest, dict(self._bundle.manifest.config)
        if manifest.hub_tokenizer is not None:
            sha256 = manifest.files[TOKENIZER_FILE].sha256
            identity["tokenizer"] = {**manifest.hub_tokenizer, "sha256": sha256}
        own = fingerprint(
            manifest.weights_sha256, identity, self.info.preprocess, manifest.precision
        )
        if own != manifest.fingerprint:
            fields = "config, preprocess (size, mean, std, interpolation, ...) or hub_tokenizer"
            raise self._unusable(f"its fingerprint is not that of its {fields}")

    def _unusable(self, reason: str) -> ModelError:
        return ModelError(
            f"the prepared model in {self._bundle.folder} cannot be used: {reason}."
            f" {repair(self._bundle.folder)}"
        )
