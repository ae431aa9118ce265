"""Metrics, calibration, intervals and thresholds, against scikit-learn and closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from fake_engine import FakeEngine, grey_png
from scipy.stats import binom
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from clipcli.errors import FailureCode, InputError
from clipcli.evaluation import intervals as intervals_room
from clipcli.evaluation.answers import Answers, answer
from clipcli.evaluation.calibration import (
    FEWEST_IMAGES,
    Temperature,
    Trial,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability_curve,
)
from clipcli.evaluation.comparison import Contender, compare
from clipcli.evaluation.encoding import encode_images
from clipcli.evaluation.evaluate import evaluate
from clipcli.evaluation.intervals import drawn_class_means, drawn_means, interval
from clipcli.evaluation.judgements import judgements
from clipcli.evaluation.record import record
from clipcli.evaluation.table import TableOptions, table
from clipcli.evaluation.thresholds import find_threshold, shortest_between
from clipcli.heads.results import Failure, Prediction, ScoreOptions
from clipcli.heads.zero_shot import ZeroShotHead, sigmoid, softmax
from clipcli.images.dataset import Dataset
from clipcli.images.sources import ImageRef
from clipcli.runs.options import PipelineOptions


def made_head(labels: int, activation: str = "softmax", scale: float = 10.0) -> ZeroShotHead:
    """A head whose cosines are the images' embeddings themselves."""
    names = tuple(f"label {place}" for place in range(labels))
    return ZeroShotHead(names, np.eye(labels, dtype=np.float32), scale, 0.0, activation)  # type: ignore[arg-type]


def random_images(images: int, labels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit embeddings that are right more often than not, and the truth."""
    random = np.random.default_rng(seed)
    truth = random.integers(labels, size=images)
    rows = random.normal(size=(images, labels))
    rows[np.arange(images), truth] += 1.5
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), truth


def made_answers(confidence: list[float], correct: list[bool]) -> Answers:
    """Answers of two labels, of which the first is always the answer."""
    ranks = 1 - np.array(correct, np.int64)
    predicted = np.zeros(len(ranks), np.int64)
    return Answers(ranks, predicted, ranks, np.array(confidence), np.array(confidence) - 0.5)


@pytest.mark.parametrize("seed", range(4))
def test_metrics_are_scikit_learns_on_random_predictions(seed: int) -> None:
    labels = 9
    embeddings, truth = random_images(200, labels, seed)
    truth[truth == labels - 1] = 0  # a label without images

    found = evaluate(made_head(labels), embeddings, truth)

    predicted = embeddings.argmax(axis=1)
    every = range(labels)
    assert found.images == 200
    assert found.accuracy() == accuracy_score(truth, predicted)
    for k in (1, 2, 5):
        assert found.accuracy(k) == top_k_accuracy_score(truth, embeddings, k=k, labels=every)
    recalls = precision_recall_fscore_support(truth, predicted, labels=range(labels - 1))[1]
    assert found.mean_recall == pytest.approx(recalls.mean(), abs=1e-12)
    assert found.classes[-1].recall is None
    assert found.confusion.sum() == 200
    for place, one in enumerate(found.classes[:-1]):
        row, column = found.confusion[place], found.confusion[:, place]
        assert one.images == row.sum() == (truth == place).sum()
        assert one.recall == pytest.approx(row[place] / row.sum(), abs=1e-12)
        assert one.precision == pytest.approx(row[place] / column.sum(), abs=1e-12)
        f1 = 2 * row[place] / (row.sum() + column.sum())
        assert one.f1 == pytest.approx(f1, abs=1e-12)


def test_mean_recall_is_balanced_accuracy_where_all_labels_have_images() -> None:
    embeddings, truth = random_images(300, 6)

    found = evaluate(made_head(6), embeddings, truth)

    expected = balanced_accuracy_score(truth, embeddings.argmax(axis=1))
    assert found.mean_recall == pytest.approx(expected, abs=1e-12)


def test_what_is_undefined_is_none() -> None:
    # Three labels: the third has no images and is no answer, the second is no answer.
    embeddings = np.eye(3, dtype=np.float32)[[0, 0]]

    first, second, third = evaluate(made_head(3), embeddings, np.array([0, 1])).classes

    assert (first.precision, first.recall, first.f1) == (0.5, 1.0, pytest.approx(2 / 3))
    assert (second.precision, second.recall, second.f1) == (None, 0.0, 0.0)
    assert (third.images, third.precision, third.recall, third.f1) == (0, None, None, None)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_answers_are_those_that_classify_gives(activation: str) -> None:
    embeddings, truth = random_images(1500, 5)  # more than are scored at once
    embeddings[:, 3] = embeddings[:, 1]  # two labels that always tie
    head = made_head(5, activation)

    answers, logits = answer(head, embeddings, truth)

    refs = [ImageRef(index, "", b"") for index in range(len(embeddings))]
    for place, result in enumerate(head.score(refs, embeddings, ScoreOptions())):
        assert isinstance(result, Prediction)
        order = [score.label for score in result.scores]
        assert order[0] == head.labels[answers.predicted[place]]
        assert order.index(head.labels[truth[place]]) == answers.ranks[place]
        assert result.best.probability == answers.confidence[place]
    np.testing.assert_allclose(logits, 10 * embeddings, rtol=1e-6)
    assert (answers.correct == (answers.predicted == truth)).all()


def test_mistakes_begin_with_the_surest() -> None:
    rows = np.array([[0.6, 0.8], [0.8, 0.6], [0.0, 1.0], [1.0, 0.0]], np.float32)

    found = evaluate(made_head(2), rows, np.array([0, 0, 0, 1]))

    assert found.mistakes() == [2, 3, 0]
    assert found.mistakes(1) == [2]


@pytest.mark.parametrize(
    ("confidence", "accuracy"), [(0.7, 0.25), (0.7, 0.75), (1.0, 0.5), (0.01, 0.0), (0.5, 0.5)]
)
def test_at_constant_confidence_the_error_is_its_distance_from_accuracy(
    confidence: float, accuracy: float
) -> None:
    correct = np.arange(100) < 100 * accuracy

    curve = reliability_curve(np.full(100, confidence), correct)

    assert expected_calibration_error(curve) == pytest.approx(abs(confidence - accuracy), abs=1e-12)
    assert [one.images for one in curve if one.images] == [100]


def test_the_error_weighs_bins_by_their_images() -> None:
    # 3 of 4 images at 0.9 are right, 0 of 1 at 0.3: 4/5 * 0.15 + 1/5 * 0.3
    curve = reliability_curve(
        np.array([0.9, 0.9, 0.3, 0.9, 0.9]), np.array([True, True, False, True, False])
    )

    assert expected_calibration_error(curve) == pytest.approx(0.18, abs=1e-12)


def test_the_error_is_that_of_the_definition_on_random_answers() -> None:
    random = np.random.default_rng(3)
    confidence, correct = random.random(500), random.random(500) < 0.6

    expected = 0.0
    for place in range(15):
        inside = (confidence > place / 15) & (confidence <= (place + 1) / 15)
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            expected += inside.mean() * gap

    curve = reliability_curve(confidence, correct)
    assert expected_calibration_error(curve) == pytest.approx(expected, abs=1e-12)


def test_bins_are_closed_above_and_none_is_lost_at_the_ends() -> None:
    edges = np.linspace(0, 1, 16)

    curve = reliability_curve(edges, np.ones(16, bool))

    # 0 and 1/15 share the first bin; each further edge ends its own.
    assert [one.images for one in curve] == [2, *[1] * 14]
    assert [one.high for one in curve] == pytest.approx(edges[1:])
    assert [one.low for one in curve] == pytest.approx(edges[:-1])


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(activation, temperature) -> None:
    random = np.random.default_rng(5)
    images, labels = 20_000, 4
    logits = random.normal(scale=3 * temperature, size=(images, labels)).astype(np.float32)
    if activation == "softmax":
        shares = softmax(logits / np.float64(temperature))
        truth = (shares.cumsum(axis=1) > random.random((images, 1))).argmax(axis=1)
    else:
        # Images with exactly one yes, drawn as independent yeses and noes.
        yes = random.random((images, labels)) < sigmoid(logits / np.float64(temperature))
        logits, yes = logits[yes.sum(axis=1) == 1], yes[yes.sum(axis=1) == 1]
        truth = yes.argmax(axis=1)
    ranks = (logits > np.take_along_axis(logits, truth[:, None], axis=1)).sum(axis=1)
    shares = softmax(logits).max(axis=1)
    answers = Answers(truth, logits.argmax(axis=1), ranks, shares, logits.max(axis=1))

    fitted = fit_temperature(logits, answers, activation)

    assert fitted is not None
    if activation == "softmax":
        assert fitted.value == pytest.approx(temperature, rel=0.05)
        assert fitted.error < 0.02
    # No neighbour is likelier.
    least = negative_log_likelihood(logits, truth, activation, fitted.value)
    for factor in (0.98, 1.02):
        near = negative_log_likelihood(logits, truth, activation, fitted.value * factor)
        assert least < near


def test_a_temperature_divides_the_bias_of_a_sigmoid_too() -> None:
    embeddings, truth = random_images(60, 3)
    info = FakeEngine("sigmoid").info
    found = evaluate(made_head(3, "sigmoid"), embeddings, truth)
    rows = compare([Contender(info, "{}", ("{}",), found)])
    refs = tuple(ImageRef(place, f"{place}.png", b"") for place in range(60))
    data = Dataset(refs, tuple(f"label {place}" for place in truth))

    assert found.temperature is not None
    value = found.temperature.value
    told = record(rows, data, [])["rows"][0]["temperature"]
    assert (told["logit_scale"], told["logit_bias"]) == (10 / value, -1 / value)
    cooled = replace(made_head(3, "sigmoid"), logit_bias=-1.0).at_temperature(value)
    assert (cooled.logit_scale, cooled.logit_bias) == (10 / value, -1 / value)
    assert "--temperature" in table(rows, data, TableOptions())


def sure_answers(images: int, scale: float) -> tuple[np.ndarray, Answers]:
    """Logits that are too large by a factor, and their answers; with 1 they are as they should."""
    random = np.random.default_rng(7)
    logits = random.normal(scale=2, size=(images, 4)).astype(np.float32)
    shares = softmax(logits.astype(np.float64))
    truth = (shares.cumsum(axis=1) > random.random((images, 1))).argmax(axis=1)
    logits *= np.float32(scale)
    ranks = (logits > np.take_along_axis(logits, truth[:, None], axis=1)).sum(axis=1)
    sureness = softmax(logits.astype(np.float64)).max(axis=1)
    return logits, Answers(truth, logits.argmax(axis=1), ranks, sureness, sureness)


@pytest.mark.parametrize(("scale", "confirmed"), [(4.0, True), (0.3, True), (1.0, False)])
def test_a_temperature_is_confirmed_where_it_helps_images_that_it_was_not_fitted_on(
    scale: float, confirmed: bool
) -> None:
    fitted = fit_temperature(*sure_answers(400, scale), "softmax")
    assert fitted is not None
    assert fitted.trial is not None
    assert fitted.trial.images == 200
    assert fitted.is_confirmed == confirmed == (fitted.trial.error < fitted.trial.error_without)


def test_a_temperature_that_nothing_confirms_is_not_suggested() -> None:
    assert not Temperature(2.0, 0.1, None).is_confirmed
    assert not Temperature(2.0, 0.1, Trial(20, 0.1, 0.1)).is_confirmed
    assert fit_temperature(*sure_answers(FEWEST_IMAGES - 1, 4.0), "softmax").trial is None


@pytest.mark.parametrize(("images", "few"), [(1, True), (29, True), (30, False)])
def test_from_few_images_nothing_is_suggested(images: int, few: bool) -> None:
    embeddings, truth = random_images(images, 3)
    rows = compare(
        [Contender(FakeEngine().info, "{}", ("{}",), evaluate(made_head(3), embeddings, truth))]
    )
    refs = tuple(ImageRef(place, f"{place}.png", b"") for place in range(images))
    text = table(rows, Dataset(refs, tuple(f"label {place}" for place in truth)), TableOptions())
    suggestions = text.partition("suggestions\n")[2]
    assert suggestions
    assert ("too few for suggestions: 30 at least" in suggestions) == few
    assert ("--min-similarity" in suggestions) == (not few)


def test_the_likelihood_is_scikit_learns_log_loss() -> None:
    embeddings, truth = random_images(1500, 4)
    logits = 10 * embeddings

    for temperature in (0.7, 1.0, 4.0):
        found = negative_log_likelihood(logits, truth, "softmax", temperature)
        shares = softmax(logits.astype(np.float64) / temperature)
        assert found == pytest.approx(log_loss(truth, shares), rel=1e-9)
        yes = np.eye(4)[truth]
        probability = sigmoid(logits.astype(np.float64) / temperature)
        by_label = -(yes * np.log(probability) + (1 - yes) * np.log(1 - probability))
        found = negative_log_likelihood(logits, truth, "sigmoid", temperature)
        assert found == pytest.approx(by_label.sum(axis=1).mean(), rel=1e-9)


@pytest.mark.parametrize("shift", [0, 1])
def test_where_all_answers_are_right_or_all_wrong_no_temperature_is_best(shift: int) -> None:
    truth = np.arange(40) % 4
    embeddings = np.eye(4, dtype=np.float32)[(truth + shift) % 4]

    assert evaluate(made_head(4), embeddings, truth).temperature is None


def test_a_draws_means_are_those_of_images_drawn_with_replacement() -> None:
    values = np.random.default_rng(1).random((30, 2))

    drawn = np.random.default_rng(intervals_room.SEED).integers(30, size=(50, 30))

    np.testing.assert_allclose(drawn_means(values, 50), values[drawn].mean(axis=1), rtol=1e-12)


def test_a_draws_class_means_are_those_of_the_same_images() -> None:
    random = np.random.default_rng(1)
    hits, classes = random.random((60, 2)) < 0.5, random.permutation(np.arange(60) % 3)

    expected = []
    for drawn in np.random.default_rng(intervals_room.SEED).integers(60, size=(50, 60)):
        means = [hits[drawn][classes[drawn] == one].mean(axis=0) for one in range(3)]
        expected.append(np.mean(means, axis=0))

    np.testing.assert_allclose(drawn_class_means(hits, classes, 50), expected, rtol=1e-12)


def test_draws_do_not_depend_on_how_many_are_made_at_once(monkeypatch) -> None:
    values, classes = random_images(50, 2)
    whole = drawn_means(values), drawn_class_means(values > 0, classes)

    monkeypatch.setattr(intervals_room, "_NUMBERS_AT_ONCE", 333)

    np.testing.assert_allclose(drawn_means(values), whole[0], rtol=1e-12)
    np.testing.assert_allclose(drawn_class_means(values > 0, classes), whole[1], rtol=1e-12)


@pytest.mark.parametrize(("images", "right"), [(400, 280), (100, 10), (1000, 970)])
def test_the_spread_of_accuracy_is_the_binomial_standard_error(images: int, right: int) -> None:
    hits = np.arange(images)[:, None] < right
    share = right / images

    drawn = drawn_means(hits)[:, 0]

    assert drawn.std() == pytest.approx(math.sqrt(share * (1 - share) / images), rel=0.05)
    assert drawn.mean() == pytest.approx(share, abs=3 * drawn.std() / math.sqrt(len(drawn)))
    # What is drawn is binomial, so its quantiles are known: to one image in 2,000 draws.
    found = interval(drawn)
    expected = binom.ppf([0.025, 0.975], images, share)
    assert np.array([found.low, found.high]) * images == pytest.approx(expected, abs=1.01)


def test_the_spread_of_mean_recall_is_that_of_its_classes() -> None:
    sizes, shares = [40, 60, 300], [0.5, 0.9, 0.2]
    classes = np.repeat(np.arange(3), sizes)
    pairs = zip(sizes, shares, strict=True)
    hits = np.concatenate([np.arange(size) < size * share for size, share in pairs])
    # In any order: which images stand together must not matter.
    order = np.random.default_rng(2).permutation(len(hits))

    drawn = drawn_class_means(hits[order, None], classes[order])

    assert drawn is not None
    variance = sum(p * (1 - p) / n for n, p in zip(sizes, shares, strict=True)) / 9
    assert drawn.mean() == pytest.approx(np.mean(shares), abs=0.003)
    # A class's own size varies from draw to draw, too: a percent or two more.
    assert drawn.std() == pytest.approx(math.sqrt(variance), rel=0.06)


@pytest.mark.parametrize(("fewest", "is_known"), [(4, False), (5, True)])
def test_mean_recall_has_an_interval_where_each_class_has_images_enough(fewest, is_known) -> None:
    classes = np.repeat([0, 1], [20, fewest])

    drawn = drawn_class_means(classes[:, None] == 0, classes)

    assert (drawn is not None) == is_known


def test_a_class_that_a_draw_has_missed_is_left_out_of_it() -> None:
    classes = np.repeat([0, 1], [200, 5])  # missed once in 150 draws

    drawn = drawn_class_means(np.ones((205, 1), bool), classes)

    assert drawn is not None
    assert (drawn == 1).all()


def contender(prompts: str, embeddings: np.ndarray, truth: np.ndarray) -> Contender:
    found = evaluate(made_head(embeddings.shape[1]), embeddings, truth)
    return Contender(FakeEngine().info, prompts, (prompts,), found)


def test_rows_are_compared_with_the_first_image_by_image() -> None:
    embeddings, truth = random_images(400, 6)
    # The same answers but for 40 images, which all become wrong.
    worse = embeddings.copy()
    right = np.flatnonzero(embeddings.argmax(axis=1) == truth)[:40]
    worse[right] = np.eye(6, dtype=np.float32)[(truth[right] + 1) % 6]

    first, same, other = compare(
        [
            contender("a {}", embeddings, truth),
            contender("b {}", embeddings, truth),
            contender("c {}", worse, truth),
        ]
    )

    assert (first.difference, first.difference_interval) == (None, None)
    assert same.difference == 0
    assert same.difference_interval == intervals_room.Interval(0, 0)
    assert same.top1 == first.top1
    assert other.difference == pytest.approx(-0.1)
    assert other.difference_interval is not None
    # Pairs differ by 0 or 1: a binomial's interval, and far from that of two independent rows.
    expected = -binom.ppf([0.975, 0.025], 400, 0.1) / 400
    found = other.difference_interval
    assert [found.low, found.high] == pytest.approx(expected, abs=1.01 / 400)
    assert first.top5.low <= first.contender.evaluation.accuracy(5) <= first.top5.high
    assert first.mean_recall is not None
    assert first.mean_recall.low < first.contender.evaluation.mean_recall < first.mean_recall.high


@pytest.mark.parametrize(
    ("target", "value", "answered", "right"),
    [
        (1.0, 0.9, 2, 2),
        (0.75, 0.7, 4, 3),
        # 0.6 has two images, of which no threshold takes one alone.
        (0.65, 0.6, 6, 4),
        (0.5, 0.0, 7, 4),
    ],
)
def test_a_threshold_is_the_smallest_that_reaches_a_precision(
    target: float, value: float, answered: int, right: int
) -> None:
    answers = made_answers(
        [0.6, 0.95, 0.3, 0.8, 0.9, 0.6, 0.7],
        [True, True, False, False, True, False, True],
    )

    found = find_threshold(answers.confidence, answers.correct, target)

    assert found is not None
    assert (found.value, found.answered, found.right) == (value, answered, right)
    assert found.precision == right / answered
    assert found.coverage == answered / 7


@pytest.mark.parametrize(("target", "value"), [(1.0, 0.3), (0.65, -0.1), (0.6, -0.3), (0.5, -1.0)])
def test_a_threshold_of_cosines_may_lie_below_zero(target: float, value: float) -> None:
    cosines = np.array([0.39, -0.02, 0.2, -0.25, -0.27, -0.9])
    correct = np.array([True, True, False, False, True, False])
    found = find_threshold(cosines, correct, target, lowest=-1.0)
    assert found is not None
    assert found.value == value
    assert correct[cosines >= found.value].mean() == found.precision >= target


def test_where_the_surest_answer_is_wrong_a_precision_may_be_out_of_reach() -> None:
    answers = made_answers([0.9, 0.8, 0.1], [False, True, True])

    assert find_threshold(answers.confidence, answers.correct, 0.95) is None
    found = find_threshold(answers.confidence, answers.correct, 2 / 3)
    assert found is not None
    assert found.coverage == 1


@pytest.mark.parametrize("seed", range(5))
def test_a_threshold_does_what_it_says_and_no_smaller_one_does(seed: int) -> None:
    random = np.random.default_rng(seed)
    confidence = random.random(200).round(2)
    answers = made_answers(confidence, random.random(200) < confidence)

    found = find_threshold(answers.confidence, answers.correct, 0.8)

    assert found is not None
    kept = confidence >= found.value
    assert kept.sum() == found.answered
    assert answers.correct[kept].sum() == found.right >= 0.8 * found.answered
    for lower in np.unique(confidence[~kept]):
        assert answers.correct[confidence >= lower].mean() < 0.8


@pytest.mark.parametrize(
    ("low", "high", "value"),
    [
        (0.5031, 0.5123, 0.51),
        (0.5, 0.9999, 0.9),
        (0.69, 0.7, 0.7),
        (0.565, 0.57, 0.57),
        (0.99999, 1.0, 1.0),
        (0.0, 1e-20, 1e-20),
        (0.56, 0.5600000001, 0.5600000001),
    ],
)
def test_a_threshold_has_as_few_decimals_as_will_do(low: float, high: float, value: float) -> None:
    assert shortest_between(low, high) == value
    assert low < value <= high


def test_thresholds_are_found_for_each_precision_wished_for() -> None:
    embeddings, truth = random_images(300, 4)

    found = evaluate(made_head(4), embeddings, truth, (0.9, 0.99))

    assert list(found.thresholds) == [0.9, 0.99]
    assert found.thresholds[0.9].coverage > found.thresholds[0.99].coverage > 0


class HalfBlind(FakeEngine):
    """Its embedding of a white image is not finite."""

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        rows = super().encode_images(pixels)
        rows[pixels.mean(axis=(1, 2, 3)) > 0.9] = np.nan
        return rows


def test_embeddings_and_failures_keep_their_places() -> None:
    greys = [0, None, 90, 255, None, 200, 30]
    refs = [
        ImageRef(index, f"{index}.png", b"no image" if grey is None else grey_png(grey))
        for index, grey in enumerate(greys)
    ]
    told = []

    found = encode_images(
        refs,
        HalfBlind(),
        PipelineOptions(batch_size=3),
        lambda ref, error: told.append((ref.index, error and error.code)),
    )

    codes = {place: error.code for place, error in found.failures.items()}
    unusable = FailureCode.NOT_AN_IMAGE
    assert codes == {1: unusable, 3: FailureCode.NOT_FINITE, 4: unusable}
    assert told == [(place, codes.get(place)) for place in range(7)]
    for place in (0, 2, 5, 6):
        angle = greys[place] / 255 * np.pi / 2
        expected = [np.cos(angle), np.sin(angle)]
        np.testing.assert_allclose(found.embeddings[place], expected, atol=1e-6)


def test_judgements_go_through_all_images_in_their_order() -> None:
    embeddings, truth = random_images(1500, 3)
    head = made_head(3)
    refs = tuple(ImageRef(index, f"{index}.png", b"") for index in range(1500))
    data = Dataset(refs, tuple(head.labels[place] for place in truth))
    embeddings[1100] = 0
    failure = Failure.of(refs[1100], InputError(FailureCode.DAMAGED, "cut short"))

    judged = list(judgements(data, {1100: failure}, head, embeddings, ScoreOptions(2)))

    assert [result.index for result, _ in judged] == list(range(1500))
    assert judged[1100] == (failure, data.labels[1100])
    found = evaluate(head, np.delete(embeddings, 1100, axis=0), np.delete(truth, 1100))
    right = sum(
        isinstance(result, Prediction) and result.answer == label for result, label in judged
    )
    assert right == found.answers.correct.sum()
