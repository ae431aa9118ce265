"""The folders the scripts read data sets from and write their work to."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DataFolder:
    """The folder that holds the data sets, laid out as the README says.

    Attributes:
        root: The folder itself.
    """

    root: Path

    @property
    def tiny_imagenet(self) -> Path:
        """Tiny ImageNet: `wnids.txt`, `words.txt`, `train/` and `val/`."""
        return self.root / "tiny-imagenet-200"

    @property
    def cifar10(self) -> Path:
        """CIFAR-10 as pictures: `train/` and `test/`, a folder a class in each."""
        return self.root / "cifar10"

    @property
    def caltech101(self) -> Path:
        """Caltech-101: a folder a category."""
        return self.root / "caltech101" / "101_ObjectCategories"

    @property
    def clothing(self) -> Path:
        """The training part of clothing-dataset-small: a folder a class."""
        return self.root / "clothing_small" / "train"

    @property
    def cats_dogs(self) -> Path:
        """The training part of a cats-and-dogs set: `cats/` and `dogs/`."""
        return self.root / "cats_dogs" / "dataset" / "training_set"

    def wnids(self) -> list[str]:
        """Return the WordNet ids of the Tiny ImageNet classes, in the order of their labels."""
        return (self.tiny_imagenet / "wnids.txt").read_text().split()


@dataclass(frozen=True)
class WorkFolder:
    """The folder that holds arrays and checkpoints, from the first script to the last.

    Attributes:
        root: The folder itself.
    """

    root: Path

    @property
    def more_classes(self) -> Path:
        """Names of the additional classes: a JSON list of lists, in the order of their labels."""
        return self.root / "more_classes.json"

    @property
    def phrases(self) -> Path:
        """The phrases the text tower learns: a JSON list."""
        return self.root / "phrases.json"

    @property
    def phrase_embeddings(self) -> Path:
        """What the text tower learns to say of them: an array of unit rows, one a phrase."""
        return self.root / "phrase_embeddings.npy"

    def checkpoint(self, name: str) -> Path:
        """Return the file of the checkpoint called `name`."""
        return self.root / f"{name}.pt"

    def create(self) -> None:
        """Create the folder, unless it is there."""
        self.root.mkdir(parents=True, exist_ok=True)
