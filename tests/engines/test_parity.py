"""Whether two engines agree: what is counted, what is refused. Whole models are in test_export."""

import numpy as np
import pytest

from clipcli.engines import parity
from clipcli.errors import ModelError


def test_agreement_is_the_share_of_equal_best_labels_among_ten():
    theirs = np.random.default_rng(0).normal(size=(40, 20))
    assert parity._agreement(theirs, theirs) == 1
    ours = theirs.copy()
    # Two questions of ten labels each, every second prompt; in one of them two images turn over.
    ours[:2, ::2] *= -1
    assert parity._agreement(ours, theirs) == pytest.approx(1 - 2 / 80)


@pytest.mark.parametrize(
    ("precision", "figures"),
    [
        ("fp32", {"image_difference": 1.1e-4}),
        ("fp32", {"text_difference": float("nan")}),
        ("int8", {"image_cosine": 0.989}),
        ("int8", {"text_cosine": 0.989}),
        ("int8", {"agreement": 0.979}),
    ],
)
def test_each_figure_alone_can_refuse(precision, figures):
    good = {
        **dict.fromkeys(("image_difference", "text_difference"), 1e-4),
        **dict.fromkeys(("image_cosine", "text_cosine"), 0.99),
        "agreement": 0.98,
    }
    parity._judge(good, precision)
    with pytest.raises(ModelError, match="does not agree with torch"):
        parity._judge({**good, **figures}, precision)
