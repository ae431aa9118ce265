"""The same from Python: one model, several pictures, results as objects."""

from pathlib import Path

from clipcli import Classifier, Prediction

PHOTOS = Path(__file__).parent / "photos"
LABELS = ["cat", "cup of coffee", "rocket"]


def main() -> None:
    """Print each photo's best label, or why it has none."""
    classifier = Classifier("tiny")
    images = [*sorted(PHOTOS.glob("*.*g")), PHOTOS / "missing.jpg"]
    for result in classifier.classify(images, LABELS, templates=["a photo of a {}."]):
        name = Path(result.name).name
        if isinstance(result, Prediction):
            print(f"{name}: {result.best.label} ({result.best.probability:.2f})")
        else:
            print(f"{name}: {result.message}")


if __name__ == "__main__":
    main()
