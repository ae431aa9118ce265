"""The command line of `eval`, and what it asks of the rooms beyond images and model."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli.cli.arguments.checks import check_report_name
from clipcli.cli.arguments.run import LabelArguments
from clipcli.errors import UsageError
from clipcli.heads.labels import LabelSet, collect_labels, collect_templates
from clipcli.models.specs import ModelRequest

if TYPE_CHECKING:
    from clipcli.images.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class EvalArguments(LabelArguments):
    """The command line of `eval`. The images are the data's: no option names them."""

    data: str
    compare_templates: tuple[str, ...]
    compare_models: tuple[str, ...]
    min_accuracy: float
    precision_targets: tuple[float, ...]
    json_file: str | None
    plots: str | None
    report: str | None
    no_color: bool

    images: tuple[str, ...] = ()
    recursive: bool = False
    files_from: str | None = None
    null_separated: bool = False
    shard: str | None = None
    output: str | None = None
    unordered: bool = False
    fail_fast: bool = False
    max_errors: int | None = None
    summary: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        # Nothing is below NaN: a check for CI would pass whatever the answers are.
        if any(map(math.isnan, (self.min_accuracy, *self.precision_targets))):
            raise UsageError("--min-accuracy and --precision-target are numbers from 0 to 1")

    def check_images(self) -> None:
        """Nothing: which images there are, the data says."""

    def image_count(self) -> int | None:
        """Many, as far as the choice of an engine is concerned."""
        return None

    def check_outputs(self) -> None:
        """See, before minutes of work, that the libraries are there, and where files will go.

        Raises:
            UsageError: one is not installed, or a folder cannot be written to.
        """
        if find_spec("sklearn") is None:
            raise UsageError("eval needs the package scikit-learn: pip install 'clipcli[eval]'")
        if self.json_file is not None:
            self._check_json_name(self.json_file)
            _check_folder(Path(self.json_file).parent, f"--json {self.json_file}")
        if self.report is not None:
            check_report_name(self.report)
            _check_folder(Path(self.report).parent, f"--report {self.report}")
        if self.plots is not None:
            from clipcli.evaluation.plots import check_matplotlib

            check_matplotlib()
            # The folder itself is made when there are figures for it.
            there = next(filter(os.path.exists, (Path(self.plots), *Path(self.plots).parents)))
            _check_folder(there, f"--plots {self.plots}")

    def _check_json_name(self, file: str) -> None:
        if _is_same(file, self.data):
            raise UsageError(f"--json {file} is the data itself: name another file")
        if self.report is not None and _is_same(file, self.report):
            raise UsageError("--json and --report name the same file: name another for one of them")

    def prompt_sets(self, classes: tuple[str, ...]) -> dict[str, LabelSet]:
        """The labels in each set of templates that is compared, by the set's name for people.

        Args:
            classes: of the data; they are the labels where the command line has none.

        Raises:
            UsageError: a class of the data is none of the labels.
        """
        names = collect_labels(self.labels, self.label_files) or classes
        missing = [name for name in classes if name not in set(names)]
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise UsageError(
                f"the data's class {missing[0]!r}{more} is none of the labels: add it with -l, or"
                " leave out -l and --labels"
            )
        sets = [self.templates] if self.templates or not self.compare_templates else []
        sets += [(template,) for template in self.compare_templates]
        return {
            " + ".join(templates) or "{}": LabelSet(names, collect_templates(templates))
            for templates in sets
        }

    def model_requests(self) -> list[ModelRequest]:
        """Which models are compared, the command line's own first."""
        others = dict.fromkeys(name for name in self.compare_models if name != self.model)
        return [
            self.model_request(),
            *(ModelRequest(name=name, offline=self.offline) for name in others),
        ]

    def dataset(self) -> Dataset:
        """The images and their labels."""
        from clipcli.images.dataset import read_dataset

        return read_dataset(self.data)


def _is_same(file: str, other: str) -> bool:
    return os.path.realpath(file) == os.path.realpath(other)


def _check_folder(folder: Path, what: str) -> None:
    if not folder.is_dir():
        raise UsageError(f"cannot write {what} (there is no folder {folder})")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"cannot write {what} ({folder} is read-only)")
