"""`clipcli classify`: the main job, and what a command line without a command word means."""

from __future__ import annotations

import math
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO

import click
from click.core import ParameterSource

from clipcli.cli.console import Console
from clipcli.cli.options import (
    console_options,
    engine_options,
    input_options,
    label_options,
    model_options,
    output_options,
)
from clipcli.errors import UsageError
from clipcli.labels import UNKNOWN, LabelSet, collect_labels, collect_templates
from clipcli.models import ModelRequest, ModelSpec, resolve_model
from clipcli.sources import STDIN, ImageRef, SourceOptions, expand, is_pattern

if TYPE_CHECKING:
    from clipcli.cache import TextCache
    from clipcli.classifier import Result
    from clipcli.engines import EngineChoice
    from clipcli.engines.base import Engine, EngineOptions
    from clipcli.fetch import FetchOptions
    from clipcli.outputs import Writer
    from clipcli.pipeline import PipelineOptions


_LABELS_IN_A_MESSAGE = 10


class Outcome(IntEnum):
    """The exit codes of a run that came to its end."""

    ALL_DONE = 0
    SOME_FAILED = 3
    NONE_SUCCEEDED = 4
    NOT_AS_EXPECTED = 6


@dataclass(frozen=True)
class Arguments:
    """The command line of `classify`; a field for each option, named as click names it."""

    images: tuple[str, ...]
    recursive: bool
    files_from: str | None
    null_separated: bool
    allowed_hosts: tuple[str, ...]
    extra_formats: tuple[str, ...]
    max_pixels: int | None
    preprocess: str
    labels: tuple[str, ...]
    label_files: tuple[str, ...]
    templates: tuple[str, ...]
    model: str
    checkpoint: str | None
    quick_gelu: bool | None
    offline: bool
    engine: Any
    no_cache: bool
    device: str
    precision: Any
    threads: int | None
    batch_size: int
    workers: int | None
    top_k: int | None
    min_probability: float
    expect: str | None
    output_format: str | None
    no_color: bool
    verbose: bool

    def __post_init__(self) -> None:
        if not self.images and self.files_from is None:
            raise UsageError("no images: name files, URLs, - for standard input, or --files-from")
        if [*self.images, self.files_from].count(STDIN) > 1:
            raise UsageError("standard input can be read only once: as one image or as one list")
        if math.isnan(self.min_probability):
            raise UsageError("--min-probability is a number from 0 to 1")
        if self.null_separated and self.files_from is None:
            raise UsageError("-0 goes with a list: --files-from FILE")

    def label_set(self) -> LabelSet:
        """The labels, and whether `--expect` and `unknown` make sense with them."""
        names = collect_labels(self.labels, self.label_files)
        labels = LabelSet(names, collect_templates(self.templates))
        if self.min_probability and UNKNOWN in names:
            raise UsageError(
                f"a label {UNKNOWN!r} cannot be told from --min-probability's answer: rename it"
            )
        if self.expect == UNKNOWN and UNKNOWN not in names and not self.min_probability:
            raise UsageError(f"--expect {UNKNOWN} needs --min-probability")
        if self.expect is not None and self.expect not in (*names, UNKNOWN):
            raise UsageError(f"--expect {self.expect!r} is none of the labels: {_some(names)}")
        return labels

    def model_request(self) -> ModelRequest:
        """Which model."""
        checkpoint = Path(self.checkpoint) if self.checkpoint else None
        return ModelRequest(self.model, checkpoint, self.quick_gelu, self.offline)

    def engine_options(self) -> EngineOptions:
        """Where and how it runs."""
        from clipcli.engines.base import EngineOptions

        return EngineOptions(
            self.device, self.precision, self.threads, self.engine, self._image_count()
        )

    def _image_count(self) -> int | None:
        """How many images the command line names; None where a list or a folder tells."""
        is_open = self.recursive or self.files_from is not None or any(map(is_pattern, self.images))
        return None if is_open else len(self.images)

    def text_cache(self) -> TextCache | None:
        """Where embeddings of labels are kept between runs."""
        if self.no_cache:
            return None
        from clipcli.cache import TextCache
        from clipcli.paths import text_cache_file

        return TextCache(text_cache_file())

    def pipeline_options(self) -> PipelineOptions:
        """How images are read and scored."""
        from clipcli.classifier import ScoreOptions
        from clipcli.images import DEFAULT_MAX_PIXELS, ImageOptions
        from clipcli.outputs import DEFAULT_TOP_K
        from clipcli.pipeline import PipelineOptions

        # What no writer shows is not kept: of a thousand labels, five.
        shown = None if self.verbose else max(DEFAULT_TOP_K, self.top_k or 0)
        return PipelineOptions(
            self.batch_size,
            self.workers,
            ImageOptions(
                max_pixels=self.max_pixels or DEFAULT_MAX_PIXELS,
                extra_formats=self.extra_formats,
                reference=self.preprocess == "reference",
            ),
            self._fetch_options(),
            ScoreOptions(shown, self.min_probability),
        )

    def _fetch_options(self) -> FetchOptions | None:
        if not self.allowed_hosts:
            return None
        from clipcli.fetch import FetchOptions

        return FetchOptions(allowed_hosts=frozenset(host.lower() for host in self.allowed_hosts))


@click.command(
    epilog="Exit codes: 0 all done, 2 usage, 3 some images failed, 4 all failed, 5 no model,"
    " 6 --expect not met, 130 interrupted, 141 reader gone, 143 terminated."
)
@input_options
@label_options
@output_options
@model_options
@engine_options
@console_options
@click.pass_context
def classify(ctx: click.Context, /, **values: Any) -> int:  # noqa: ANN401
    """Say which of some texts fits each IMAGE best.

    An IMAGE is a file, a folder (with -r), a pattern, an http(s) URL, or - for the bytes of one
    image on standard input.

    \b
    clipcli cat.jpg -l 'a photo of a cat' -l 'a photo of a dog'
    clipcli photos/ -r --labels imagenet -t openai7 --jsonl
    clipcli sample.jpg -l cat -l dog --expect cat --model tiny
    """  # noqa: D301  click wants the character \b itself
    console: Console = ctx.obj
    arguments = Arguments(**_with_one_format(ctx, values), verbose=console.verbose)
    with console.warnings():
        return _run(arguments, console)


def _with_one_format(ctx: click.Context, values: dict[str, Any]) -> dict[str, Any]:
    """The options with `--json` and `--jsonl` folded into `--format`."""
    short = [name for name in ("json", "jsonl") if values.pop(f"as_{name}")]
    # The environment's format gives way; one on the command line would be ignored in silence.
    is_named = ctx.get_parameter_source("output_format") is ParameterSource.COMMANDLINE
    if len(short) + is_named > 1:
        raise UsageError("--format, --json and --jsonl exclude each other: keep one of them")
    return {**values, "output_format": short[0]} if short else values


def _run(arguments: Arguments, console: Console) -> int:
    """Check everything that is cheap to check, then load the model, then go through the images."""
    # Labels first: a slip of the pen should not have to wait for a model.
    labels = arguments.label_set()
    device = arguments.engine_options()
    spec = resolve_model(arguments.model_request())
    labels.check_alternatives(spec.activation)
    with ExitStack() as stack:
        refs = _image_refs(arguments, stack)

        from clipcli.classifier import build_head
        from clipcli.engines import choose_engine, load_engine
        from clipcli.images import lift_pillow_limit
        from clipcli.pipeline import classify as classify_images

        lift_pillow_limit()
        choice = choose_engine(spec, device)
        _tell_choice(choice, spec, console)
        engine = load_engine(spec, device, choice, offline=arguments.offline)
        _tell_engine(engine, console)
        head = build_head(engine, labels, arguments.text_cache())
        results = classify_images(refs, engine, head, arguments.pipeline_options())
        writer = _writer(arguments, engine, labels)
        return _write(console.progress(results), writer, console, arguments.expect)


def _image_refs(arguments: Arguments, stack: ExitStack) -> Iterator[ImageRef]:
    options = SourceOptions(arguments.recursive, arguments.null_separated)
    name_list = _name_list(arguments.files_from, stack)
    return expand(arguments.images, name_list, sys.stdin.buffer, options)


def _name_list(name: str | None, stack: ExitStack) -> IO[bytes] | None:
    if name is None:
        return None
    if name == STDIN:
        return sys.stdin.buffer
    try:
        return stack.enter_context(Path(name).open("rb"))
    except OSError as error:
        raise UsageError(f"cannot read --files-from {name} ({error.strerror})") from error


def _tell_choice(choice: EngineChoice, spec: ModelSpec, console: Console) -> None:
    console.note(f"{'torch' if choice.bundle is None else 'onnx'} runs, because {choice.reason}")
    if choice.worth_preparing:
        console.hint(f"'{spec.pull_command}' once makes every later start of this model faster")


def _tell_engine(engine: Engine, console: Console) -> None:
    info = engine.info
    console.note(f"{info.name} with {info.engine}, fingerprint {info.fingerprint}")


def _writer(arguments: Arguments, engine: Engine, labels: LabelSet) -> Writer:
    from clipcli.outputs import FORMATS, OutputOptions

    on_terminal = sys.stdout.isatty()
    name = arguments.output_format or ("human" if on_terminal else "tsv")
    options = OutputOptions(
        labels=labels.names,
        model_name=engine.info.name,
        model_fingerprint=engine.info.fingerprint,
        embed_dim=engine.info.embed_dim,
        top_k=arguments.top_k,
        verbose=arguments.verbose,
        color=on_terminal and not arguments.no_color and _wants_color(),
    )
    return FORMATS[name](_results_stream(), options)


def _wants_color() -> bool:
    # https://no-color.org: set and not empty.
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _results_stream() -> TextIO:
    """Standard output, in UTF-8 whatever the locale, able to give back any file's name."""
    stream: Any = sys.stdout
    stream.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")
    result: TextIO = stream
    return result


def _write(
    results: Iterable[Result], writer: Writer, console: Console, expected: str | None
) -> Outcome:
    """Write the results as they come, tell of failures, and sum up."""
    from clipcli.classifier import Failure

    done, unexpected = 0, 0
    failed: Counter[str] = Counter()
    with _written(writer):
        for result in results:
            writer.write(result)
            if isinstance(result, Failure):
                failed[result.code] += 1
                console.failure(result)
                continue
            done += 1
            answer = UNKNOWN if result.answer is None else result.answer
            if expected is not None and answer != expected:
                unexpected += 1
                share = f"{result.best.label!r} has {result.best.probability:.4f}"
                console.problem(result.name, f"expected {expected!r}, got {answer!r} ({share})")
    console.summary(done, failed)
    return _outcome(done, failed.total(), unexpected)


@contextmanager
def _written(writer: Writer) -> Iterator[None]:
    """Write what comes first and last; an interrupted run ends its JSON array, too."""
    writer.begin()
    try:
        yield
    finally:
        writer.end()


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(map(repr, names[:_LABELS_IN_A_MESSAGE]))
    return shown if len(names) <= _LABELS_IN_A_MESSAGE else f"{shown}, …"


def _outcome(done: int, failed: int, unexpected: int) -> Outcome:
    # The order of the contract, the graver code first.
    if not done:
        return Outcome.NONE_SUCCEEDED
    if unexpected:
        return Outcome.NOT_AS_EXPECTED
    return Outcome.SOME_FAILED if failed else Outcome.ALL_DONE
