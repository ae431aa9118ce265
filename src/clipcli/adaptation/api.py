"""The public `adapt`: an adapter of labelled pictures, for notebooks and programs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipcli.adaptation.adapt import Seen, gather, notes
from clipcli.adaptation.adapt import adapt as fit
from clipcli.adaptation.options import AdaptOptions
from clipcli.adaptation.selection import select
from clipcli.adaptation.writing import check_target, write_adapter
from clipcli.api import Classifier, in_python
from clipcli.errors import ClipcliWarning, UsageError
from clipcli.evaluation.encoding import encode_images
from clipcli.heads.adapters import adapter_folder
from clipcli.heads.given import given_labels
from clipcli.heads.zero_shot import build_head
from clipcli.images.dataset import read_dataset
from clipcli.models.specs import DEFAULT_MODEL
from clipcli.runs.options import PipelineOptions

if TYPE_CHECKING:
    from os import PathLike


@dataclass(frozen=True)
class AdapterReport:
    """What became of an adapter.

    Attributes:
        folder: where it was written; None where it was not, being no better than zero-shot.
        is_better: by one standard error of the accuracy and of the log-loss, on pictures that were
            held out; None where none could be.
        figures: before and after, of each class and of all, as in the command's JSON.
    """

    folder: Path | None
    is_better: bool | None
    figures: Mapping[str, Any]


def adapt(
    data: str | PathLike[str],
    name: str | Path,
    classifier: Classifier | str = DEFAULT_MODEL,
    *,
    templates: str | Iterable[str] = (),
    options: AdaptOptions | None = None,
    pipeline: PipelineOptions | None = None,
) -> AdapterReport:
    """Learn from a few pictures of each class what a model takes them for.

    Args:
        data: a folder of class folders, or a CSV or TSV file of paths and labels.
        name: what the adapter is called, or the path of its folder.
        classifier: the model, or its name; without an adapter of its own.
        templates: texts with `{}` for the label, or the names of built-in sets.
        options: the method, pictures a class, the seed, and whether it is written in any case.
        pipeline: batch size, threads and limits.

    Pictures that cannot be read are left out, each with a `ClipcliWarning`.

    Raises:
        UsageError: the data cannot be used, or there is an adapter of that name already.
        ModelError: the model cannot be had.

    Example:
        >>> from clipcli import Classifier, adapt
        >>> adapt("photos/", "signs", "tiny").is_better  # doctest: +SKIP
        True
        >>> Classifier("tiny", adapter="signs").classify("new.jpg")  # doctest: +SKIP
    """
    options, pipeline = options or AdaptOptions(), pipeline or PipelineOptions()
    if not isinstance(classifier, Classifier):
        classifier = Classifier(classifier)
    with in_python():
        if classifier._adapter is not None:
            raise UsageError("the classifier has an adapter already: give one without")
        called = os.fspath(name)
        if isinstance(name, Path) and os.sep not in called:
            called = os.path.join(os.curdir, called)  # a path is no name of clipcli's own
        folder = adapter_folder(called)
        check_target(called, folder, may_be_there=options.force)
        selection = select(read_dataset(os.fspath(data)), options.shots, options.seed)
        labels = given_labels(selection.data.classes, templates)
        engine = classifier._engine
        head = build_head(engine, labels)
        refs = selection.data.refs
        encoded = encode_images(refs, engine, replace(pipeline, whole_blocks=True))
        for place, error in encoded.failures.items():
            _warn(f"{refs[place].name}: {error.message}")
        kept = [place for place in range(len(refs)) if place not in encoded.failures]
        material = gather(selection, kept, encoded.embeddings, labels, head, seed=options.seed)
        if options.method == "lora":
            from clipcli.adaptation.tuning import trainable

            material = replace(material, trainable=trainable(engine, head, pipeline))
        for note in (*selection.notes(), *notes(material)):
            _warn(note)
        adaptation = fit(material, options)
        is_written = adaptation.may_be_written(options)
        if is_written:
            made = adaptation.description(
                engine.info, Seen.of(engine.info, pipeline.images), options
            )
            write_adapter(folder, made, adaptation.tensors())
    is_better = None if adaptation.gate is None else adaptation.gate.is_passed
    return AdapterReport(folder if is_written else None, is_better, adaptation.figures())


def _warn(text: str) -> None:
    warnings.warn(text, ClipcliWarning, stacklevel=3)
