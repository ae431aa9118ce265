from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_engine import FakeEngine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clipcli.errors import ClipcliWarning, ModelError, UsageError
from clipcli.heads.labels import LabelSet
from clipcli.heads.results import Failure, Prediction, ScoreOptions
from clipcli.heads.text_cache import TextCache
from clipcli.heads.zero_shot import ZeroShotHead, build_head, normalise, sigmoid, softmax
from clipcli.images.sources import ImageRef

LOGITS = arrays(np.float64, (2, 4), elements=st.floats(-1e4, 1e4))
AXES = np.eye(3, dtype=np.float32)


def head(activation: str = "softmax", bias: float = 0.0) -> ZeroShotHead:
    return ZeroShotHead(("x", "y", "z"), AXES, 10.0, bias, activation)  # type: ignore[arg-type]


def score_one(
    embedding: list[float], options: ScoreOptions | None = None, **kind: object
) -> Prediction | Failure:
    rows = np.array([embedding], np.float32)
    (result,) = head(**kind).score([ImageRef(7, "a.png", b"")], rows, options or ScoreOptions())  # type: ignore[arg-type]
    return result


@given(LOGITS)
def test_softmax_gives_a_distribution_however_large_the_logits(logits: np.ndarray) -> None:
    shares = softmax(logits)

    assert np.isfinite(shares).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-12)


@given(LOGITS, st.floats(-100, 100))
def test_softmax_does_not_depend_on_a_common_offset(logits: np.ndarray, offset: float) -> None:
    np.testing.assert_allclose(softmax(logits + offset), softmax(logits), atol=1e-9)


def test_softmax_of_known_logits() -> None:
    # FACTS of the reference: two prompts, logits 24.5701 and 19.3049.
    np.testing.assert_allclose(softmax(np.array([24.5701, 19.3049])), [0.9949, 0.0051], atol=5e-5)


@given(st.floats(-30, 30))
def test_sigmoid_equals_its_definition(logit: float) -> None:
    assert sigmoid(np.array([logit]))[0] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-12)


def test_labels_come_best_first_with_their_cosines() -> None:
    result = score_one([0.6, 0.0, 0.8])

    assert isinstance(result, Prediction)
    assert (result.index, result.name, result.answer) == (7, "a.png", "z")
    assert [score.label for score in result.scores] == ["z", "x", "y"]
    assert [score.similarity for score in result.scores] == pytest.approx([0.8, 0.6, 0.0])
    powers = np.exp([8.0, 6.0, 0.0])
    assert [score.probability for score in result.scores] == pytest.approx(powers / powers.sum())


def test_of_equal_labels_the_one_named_first_comes_first() -> None:
    result = score_one([0.0, 1.0, 0.0])

    assert [score.label for score in result.scores] == ["y", "x", "z"]


def test_equal_labels_tie_to_the_last_bit_whatever_the_number_of_labels() -> None:
    rng = np.random.default_rng(1)
    row, images = normalise(rng.standard_normal((1, 128))), normalise(rng.standard_normal((7, 128)))
    for count in range(2, 12):
        same = ZeroShotHead(
            tuple(map(str, range(count))), np.repeat(row, count, 0), 1, 0, "softmax"
        )
        cosines = same.similarities(images.astype(np.float32))
        assert (cosines == cosines[:, :1]).all()
        assert (same.similarities(images[3:4].astype(np.float32)) == cosines[3]).all()


def test_top_k_keeps_the_best_and_leaves_their_probabilities() -> None:
    everything, best = score_one([0.6, 0.0, 0.8]), score_one([0.6, 0.0, 0.8], ScoreOptions(2))

    assert best.scores == everything.scores[:2]


@pytest.mark.parametrize(("least", "answer"), [(0.0, "z"), (0.85, "z"), (0.9, None), (1.0, None)])
def test_below_the_minimum_the_answer_is_unknown(least: float, answer: str | None) -> None:
    result = score_one([0.6, 0.0, 0.8], ScoreOptions(min_probability=least))

    assert result.answer == answer
    assert result.best.label == "z"


def test_a_sigmoid_head_scores_each_label_on_its_own() -> None:
    result = score_one([0.6, 0.0, 0.8], activation="sigmoid", bias=-5.0)

    assert [score.probability for score in result.scores] == pytest.approx(
        [1 / (1 + np.exp(-logit)) for logit in (3.0, 1.0, -5.0)]
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_text_tower_that_is_not_finite_is_the_models_fault_and_nothing_is_kept(
    tmp_path: Path, value: float
) -> None:
    engine = FakeEngine()
    encode = engine.encode_tokens

    def half_broken(tokens: np.ndarray) -> np.ndarray:
        rows = encode(tokens)
        rows[-1] = value
        return rows

    engine.encode_tokens = half_broken  # type: ignore[method-assign]
    cache = TextCache(tmp_path / "texts.sqlite3")
    with pytest.raises(ModelError, match="its embeddings of texts are not finite"):
        build_head(engine, LabelSet(("cat", "dogs")), cache)
    assert cache.count() == 0


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    rng = np.random.default_rng(0)
    labels = normalise(rng.standard_normal((1000, 512)).astype(np.float32))
    images = normalise(rng.standard_normal((32, 512)).astype(np.float32))
    wide = ZeroShotHead(tuple(map(str, range(1000))), labels, 100.0, 0.0, "softmax")

    together = wide.probabilities(wide.similarities(images))
    alone = wide.probabilities(wide.similarities(images[5:6]))

    np.testing.assert_allclose(together[5:6], alone, rtol=0, atol=1e-14)


def test_a_label_is_the_renormalised_mean_of_its_prompts() -> None:
    engine = FakeEngine()
    labels = LabelSet(("a", "abc"), ("{}", "{}xxxx"))

    built = build_head(engine, labels)

    assert engine.prompts == ["a", "abc", "axxxx", "abcxxxx"]
    angles = np.array([[1, 5], [3, 7]]) / 10 * np.pi / 2
    mean = np.stack([np.cos(angles), np.sin(angles)], axis=-1).mean(axis=1)
    expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(built.embeddings, expected, atol=1e-6)


def test_many_prompts_are_encoded_in_parts_and_stay_in_order() -> None:
    engine = FakeEngine()
    names = tuple(f"{number:03}" for number in range(200))

    built = build_head(engine, LabelSet(names))

    assert engine.prompts == list(names)
    assert built.embeddings.shape == (200, 2)


def test_a_prompt_that_is_cut_is_named_in_a_warning() -> None:
    with pytest.warns(ClipcliWarning, match="first 10 tokens.*'a very long label'"):
        build_head(FakeEngine(), LabelSet(("short", "a very long label")))


def test_many_prompts_that_are_cut_are_told_of_in_one_line() -> None:
    names = tuple(f"number {number:03} of many" for number in range(300))
    with pytest.warns(ClipcliWarning) as told:
        build_head(FakeEngine(), LabelSet(names, tuple(f"{{}}{n}" for n in range(80))))
    texts = [str(one.message) for one in told]
    cut = [text for text in texts if "tokens" in text]
    assert cut == [
        "only the first 10 tokens of 24,000 prompts count, the first of them 'number 000 of many0'"
    ]


def test_a_prompt_in_a_message_is_as_short_as_a_line() -> None:
    with pytest.warns(ClipcliWarning) as told:
        build_head(FakeEngine(), LabelSet(("short", "very " * 1000)))
    assert all(len(str(one.message)) < 130 for one in told)


def test_a_prompt_that_is_cut_warns_in_every_run(tmp_path) -> None:
    cache = TextCache(tmp_path / "texts.sqlite3")
    for _ in range(2):
        with pytest.warns(ClipcliWarning, match="'a very long label'"):
            build_head(FakeEngine(), LabelSet(("short", "a very long label")), cache)
    assert cache.count() == 1


def test_one_label_is_refused_under_softmax_and_welcome_under_sigmoid() -> None:
    with pytest.raises(UsageError, match="one label"):
        build_head(FakeEngine(), LabelSet(("cat",)))

    assert build_head(FakeEngine("sigmoid"), LabelSet(("cat",))).labels == ("cat",)
