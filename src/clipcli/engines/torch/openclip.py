"""The reference engine: torch and open_clip on CUDA, MPS or CPU."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray

from clipcli.arrays import Float32
from clipcli.disk.hashes import known_hash
from clipcli.engines.base import (
    EngineOptions,
    ModelInfo,
    Precision,
    TooLittleMemoryError,
    check_precision,
    fingerprint,
)
from clipcli.engines.hardware import available_cpus
from clipcli.engines.torch.adapters import (
    Weights,
    apply_lora,
    lora_digest,
    merge_lora,
    sharing_weights,
)
from clipcli.engines.torch.building import build
from clipcli.engines.torch.devices import (
    faults_told,
    find_device,
    first_line,
    lacks_memory,
)
from clipcli.engines.torch.fitting import load_weights
from clipcli.engines.torch.precision import lower_precision
from clipcli.engines.torch.switches import borrowed
from clipcli.engines.torch.towers import encode_image, encode_text
from clipcli.errors import ClipcliError, ModelError, UsageError, one_line
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.models.hub.cache import MissingFileError
from clipcli.models.specs import ModelSpec
from clipcli.models.tokenizers.clip import ClipTokenizer, TokenizerConfig, Tokens, check_vocabulary
from clipcli.models.tokenizers.hub import TOKENIZER_FILE, HubTokenizer, read_config
from clipcli.models.weights import foreign_tokenizer_folder, tokenizer_folder
from clipcli.process import forks

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

Tokenizer = Callable[[Sequence[str]], Tokens]


class OpenClipEngine:
    """One open_clip model, in evaluation mode.

    Args:
        spec: which model.
        weights: its weights file.
        options: where and how it runs.

    Raises:
        ModelError: open_clip cannot build it, or the weights do not fit.
        UsageError: the device is not there, or cannot run the precision.
    """

    def __init__(self, spec: ModelSpec, weights: Path, options: EngineOptions) -> None:
        self._dtype = _DTYPES[options.precision]
        self._device = find_device(options.device, self._dtype)
        check_precision(self._device.type, options.precision)
        self._threads = options.threads or available_cpus()
        self._forks = forks()
        with self.borrowed(), faults_told(self._device):
            self._model = build(spec)
            load_weights(self._model, weights, spec)
            if self._dtype != torch.float32:
                lower_precision(self._model, self._dtype)
            self._model.to(self._device)
            self.tokenizer = _tokenizer(spec)
        # Remembered with the file's stamp: half a second for 600 MB at every start otherwise.
        self.weights_sha256 = known_hash(weights)
        self.identity = _identity(spec, self.tokenizer)
        self.info = self._describe(spec, options.precision)

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        """Token ids of prompts, cut and padded to the model's context length."""
        return self.tokenizer(prompts)

    def encode_images(self, pixels: Float32) -> Float32:
        """Embed preprocessed pixels: (n, 3, height, width) to (n, embed_dim), unit rows.

        Raises:
            TooLittleMemoryError: the device has too little memory for so many at once.
        """

        @torch.inference_mode()
        def encode() -> torch.Tensor:
            batch = torch.from_numpy(pixels).to(self._device, self._dtype)
            return self._embedded(encode_image(self._model, batch))

        fewer = "use a smaller --batch-size" if len(pixels) > 1 else self._way_out
        return self._computed(encode, f"{len(pixels)} at once: {fewer}")

    def encode_tokens(self, tokens: NDArray[np.int64]) -> Float32:
        """Embed token ids: (n, length) to (n, embed_dim), unit rows.

        Raises:
            TooLittleMemoryError: the device has too little memory for so many at once.
        """

        @torch.inference_mode()
        def encode() -> torch.Tensor:
            ids = torch.from_numpy(tokens).to(self._device)
            return self._embedded(encode_text(self._model, ids))

        return self._computed(encode, f"{len(tokens)} prompt(s): {self._way_out}")

    def gradient_maps(self, pixels: Float32, directions: Float32) -> Float32:
        """Where one image's scores come from: see `engines.base.Differentiable`."""
        from clipcli.engines.torch.gradients import gradient_maps

        def follow() -> torch.Tensor:
            image = torch.from_numpy(pixels[None]).to(self._device, self._dtype)
            rows = torch.from_numpy(directions).to(self._device)
            return gradient_maps(self._model, image, rows)

        return self._computed(follow, f"gradients: use --method occlusion, or {self._way_out}")

    def image_tower(self) -> torch.nn.Module:
        """Pixels to unit embeddings, as one module to be exported."""
        return _ImageTower(self._model)

    def text_tower(self) -> torch.nn.Module:
        """Token ids to unit embeddings, as one module to be exported."""
        return _TextTower(self._model)

    def borrowed(self) -> AbstractContextManager[None]:
        """Torch's switches as the engine computes, and the host program's afterwards."""
        if self._device.type != "cpu" and self._forks != forks():
            raise UsageError(
                f"{self._device} cannot be used after a fork: start worker processes by 'spawn'"
                " (multiprocessing.get_context('spawn')), or make the Classifier in each of them"
            )
        return borrowed(self._device, self._threads)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._device

    @property
    def is_exact(self) -> bool:
        """Whether weights and arithmetic are of fp32."""
        return self._dtype == torch.float32

    def model_to_change(self) -> Any:  # noqa: ANN401
        """The model, as modules that may be changed; its weights are the engine's own."""
        return sharing_weights(self._model)

    def adapted(self, weights: Weights, scale: float) -> OpenClipEngine:
        """An engine of its own, of the same model with a LoRA in its weights.

        What the LoRA does not change takes no memory.

        Args:
            weights: of the LoRA.
            scale: of each of its products.

        Raises:
            ModelError: it was made for another model.
        """
        adapted = copy(self)
        adapted._model = self.model_to_change()
        with self.borrowed():
            apply_lora(adapted._model, weights, scale)
            merge_lora(adapted._model)
        identity = f"{self.info.fingerprint} {lora_digest(weights, scale)}"
        digest = hashlib.sha256(identity.encode()).hexdigest()
        adapted.info = replace(self.info, fingerprint=digest[: len(self.info.fingerprint)])
        return adapted

    def state(self) -> dict[str, torch.Tensor]:
        """The weights by their names, as a checkpoint holds them."""
        state: dict[str, torch.Tensor] = self._model.state_dict()
        return state

    @property
    def _way_out(self) -> str:
        return "use a smaller model" if self._device.type == "cpu" else "use --device cpu"

    def _describe(self, spec: ModelSpec, precision: Precision) -> ModelInfo:
        preprocess = PreprocessConfig.from_open_clip(spec.preprocess, self._model.visual.image_size)
        scale, bias = float(self._model.logit_scale.exp()), getattr(self._model, "logit_bias", None)
        bias = 0.0 if bias is None else float(bias)
        if not (math.isfinite(scale) and math.isfinite(bias)):
            raise ModelError(
                f"{spec.name} cannot score: its logit_scale or logit_bias is not a finite number;"
                " the checkpoint is damaged, or its training went wrong"
            )
        return ModelInfo(
            name=spec.name,
            fingerprint=fingerprint(self.weights_sha256, self.identity, preprocess, precision),
            engine=f"torch {torch.__version__} on {self._device}",
            embed_dim=spec.config["embed_dim"],
            preprocess=preprocess,
            context_length=spec.context_length,
            logit_scale=scale,
            logit_bias=bias,
            activation=spec.activation,
            short_context=spec.short_context,
        )

    def _embedded(self, features: torch.Tensor) -> torch.Tensor:
        embeddings = torch.nn.functional.normalize(features.float(), dim=-1)
        if embeddings.shape[1:] != (self.info.embed_dim,):
            found, wanted = " x ".join(map(str, embeddings.shape[1:])), self.info.embed_dim
            raise ModelError(
                f"{self.info.name} cannot be used: its configuration makes a tower that gives"
                f" {found} numbers where its embed_dim is {wanted}"
            )
        return embeddings

    def _computed(self, compute: Callable[[], torch.Tensor], purpose: str) -> Float32:
        """What is computed on the device; where its memory is too small, for what."""
        try:
            with self.borrowed():
                array: Float32 = compute().cpu().numpy()
                return array
        except ClipcliError:
            raise
        except Exception as error:
            if not lacks_memory(error):
                message = f"{self.info.name} cannot run: {first_line(error)}"
                raise ModelError(message) from error
        # Not before the error is forgotten, whose frames hold all that has found room.
        raise TooLittleMemoryError(f"not enough memory on {self._device} for {purpose}")


class _ImageTower(torch.nn.Module):
    def __init__(self, model: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(encode_image(self.model, pixels), dim=-1)


class _TextTower(_ImageTower):
    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(encode_text(self.model, tokens), dim=-1)


def _identity(spec: ModelSpec, tokenizer: Tokenizer) -> dict[str, Any]:
    """The configuration, with the tokenizer where that is a file of its own."""
    if not isinstance(tokenizer, HubTokenizer):
        return dict(spec.config)
    own = {**asdict(tokenizer.config), "sha256": known_hash(tokenizer.file)}
    return {**spec.config, "tokenizer": own}


def _tokenizer(spec: ModelSpec) -> Tokenizer:
    try:
        if spec.hub_tokenizer:
            return _hub_tokenizer(spec)
        if spec.vocabulary is not None:
            check_vocabulary(spec.vocabulary)
        return ClipTokenizer(TokenizerConfig.from_open_clip(spec.config["text_cfg"]))
    except (OSError, ValueError, MissingFileError) as error:
        # Not for a folder: of one without a vocabulary transformers makes an empty tokenizer.
        if spec.hub_tokenizer and spec.folder is None and find_spec("transformers"):
            return _transformers_tokenizer(spec)
        raise ModelError(
            f"the tokenizer of {spec.name} cannot be loaded: {one_line(error)}"
        ) from error


def _no_tokenizer(spec: ModelSpec, error: Exception) -> ModelError:
    return ModelError(f"the tokenizer of {spec.name} cannot be loaded: {one_line(error)}")


def _hub_tokenizer(spec: ModelSpec) -> HubTokenizer:
    folder = tokenizer_folder(spec, offline=True)  # `load_engine` saw to the download
    config = read_config(spec.config["text_cfg"], folder)
    return HubTokenizer(config, folder / TOKENIZER_FILE)


def _transformers_tokenizer(spec: ModelSpec) -> Tokenizer:
    """What only transformers can read: a repository without a `tokenizer.json`, say."""
    text = spec.config["text_cfg"]
    try:
        # From a folder, and without its programs: the library would ask the hub for more.
        tokenizer = open_clip.tokenizer.HFTokenizer(
            str(foreign_tokenizer_folder(spec, offline=True)),
            context_length=spec.context_length,
            tokenizer_mode=text.get("tokenizer_mode"),
            local_files_only=True,
            trust_remote_code=False,
            **(text.get("tokenizer_kwargs") or {}),
        )
    except Exception as error:
        raise ModelError(
            f"the tokenizer of {spec.name} cannot be loaded: {one_line(error)}"
        ) from error

    def tokenize(prompts: Sequence[str]) -> Tokens:
        ids = tokenizer(list(prompts)).numpy()
        return Tokens(ids, np.full(len(ids), ids.shape[1]), ())

    return tokenize
