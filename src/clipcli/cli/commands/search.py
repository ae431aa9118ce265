"""`clipcli search`: the pictures that fit a text, or a picture, best."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipcli.cli.arguments.search import FoundFlags, PlaceFlags, QueryFlags, SearchArguments
from clipcli.cli.console import Console, results_stream
from clipcli.cli.exit_codes import code_of_run
from clipcli.cli.options.groups import SectionedCommand, takes
from clipcli.cli.options.inputs import DecodingFlags, ReadingFlags
from clipcli.cli.options.results import (
    ColorFlag,
    ForceFlag,
    FormatFlags,
    ReportFlag,
    with_one_format,
)
from clipcli.cli.options.shared import EngineFlags, ModelFlag, WeightsFlags, console_options
from clipcli.cli.running.arithmetic import leave_threads_to_blocks
from clipcli.cli.running.engine import open_engine
from clipcli.cli.running.page import open_report, with_pictures
from clipcli.cli.running.previews import open_previews, with_previews
from clipcli.cli.running.stored import with_the_files_model
from clipcli.errors import UsageError
from clipcli.images.sources import SourceOptions, expand
from clipcli.models.names import resolve_model
from clipcli.runs.tally import Tally

if TYPE_CHECKING:
    from clipcli.arrays import Float32
    from clipcli.embeddings.rows import Block
    from clipcli.embeddings.search import Hit, Sources
    from clipcli.engines.base import Engine
    from clipcli.heads.labels import LabelSet
    from clipcli.heads.results import Prediction
    from clipcli.heads.text_cache import TextCache
    from clipcli.outputs.report.writer import Report
    from clipcli.outputs.terminal.previews import Previews
    from clipcli.runs.options import PipelineOptions


@click.command(
    cls=SectionedCommand,
    epilog="Exit codes: 0 all done, 2 usage, 3 some pictures of a folder failed, 4 there are none,"
    " 5 no model, 130 interrupted, 141 reader gone, 143 terminated.",
)
@takes(
    query=QueryFlags,
    places=PlaceFlags,
    found=FoundFlags,
    formats=FormatFlags,
    color=ColorFlag,
    page=ReportFlag,
    force=ForceFlag,
    model=ModelFlag,
    weights=WeightsFlags,
    engine=EngineFlags,
    reading=ReadingFlags,
    decoding=DecodingFlags,
)
@console_options
@click.pass_context
def search(ctx: click.Context, /, **groups: Any) -> int:  # noqa: ANN401
    """Find the pictures that fit a TEXT, or a picture, best.

    As with grep, the first word is the TEXT, and the others are where to look: files that `clipcli
    embed` made or, with -r, folders of pictures. Of a folder, only new and changed pictures are
    embedded next time.

    \b
    clipcli search 'a red car on a beach' photos.npz
    clipcli search 'a dog' photos/ -r -k 5 --not 'a dog on a leash'
    clipcli search --image sunset.jpg --text 'in winter' photos.npz --report found.html
    clipcli search 'a receipt' photos/ -r --print0 | xargs -0 cp -t receipts/
    clipcli search --duplicates photos/ -r
    """  # noqa: D301  click wants the character \b itself
    console: Console = ctx.obj
    leave_threads_to_blocks()
    groups["formats"] = with_one_format(ctx, groups["formats"], None)
    arguments = SearchArguments(**groups)
    if arguments.stored:
        of_model = groups["model"], groups["weights"], arguments.stored[0]
        arguments = replace(arguments, model=with_the_files_model(ctx, *of_model))
    with console.warnings():
        return _Search(arguments, console).run()


class _Search:
    """One search: what it is told, the model, and what became of the pictures."""

    def __init__(self, arguments: SearchArguments, console: Console) -> None:
        self._arguments = arguments
        self._console = console
        self._tally = Tally()
        self._options: PipelineOptions = arguments.pipeline_options(whole_blocks=True)

    def run(self) -> int:
        """Check everything that is cheap to check, then load the model, then look."""
        from clipcli.embeddings.search import SearchOptions
        from clipcli.embeddings.search import search as search_rows

        arguments = self._arguments
        wanted = arguments.prompts(arguments.texts)
        unwanted = arguments.prompts(arguments.query.unwanted)
        engine = self._engine()
        if arguments.found.duplicates:
            return self._list_duplicates(engine)
        sources = self._sources(engine)
        assert engine is not None
        row = self._query(engine, wanted, unwanted)
        found = arguments.found
        least = -1.0 if found.min_similarity is None else found.min_similarity
        top = SearchOptions(found.top_k or SearchOptions.top_k, least)
        hits = search_rows(self._counted(sources), row, top)
        if self._tally.done and not hits:
            self._console.hint("no picture is as similar")
        self._show(hits, engine)
        return self._end()

    def _engine(self) -> Engine | None:
        """The model; None where files of embeddings are compared with themselves."""
        arguments = self._arguments
        if arguments.found.duplicates and len(arguments.stored) == len(arguments.files):
            return None
        options = arguments.engine.options(None if arguments.places.recursive else 1)
        spec = resolve_model(arguments.model_request())
        return open_engine(spec, options, self._console, offline=arguments.weights.offline)

    def _sources(self, engine: Engine | None) -> Sources:
        """All that is searched, each opened when its turn comes; files are checked now.

        Raises:
            UsageError: a file is not usable, or of another model.
        """
        from clipcli.embeddings.base import check_model, check_same_model
        from clipcli.embeddings.files import open_embeddings
        from clipcli.runs.rescore import EMBEDDINGS_AT_ONCE

        stored = {name: open_embeddings(Path(name)) for name in self._arguments.stored}
        for file in stored.values():
            if engine is None:
                check_same_model(file, next(iter(stored.values())))
            else:
                check_model(file, engine.info)

        def opened(name: str) -> Iterator[Block]:
            if name in stored:
                return stored[name].blocks(EMBEDDINGS_AT_ONCE)
            assert engine is not None
            return self._folder(name, engine)

        return ((name, opened(name)) for name in self._arguments.files)

    def _folder(self, name: str, engine: Engine) -> Iterator[Block]:
        from clipcli.disk.paths import picture_cache_file
        from clipcli.heads.text_cache import TextCache
        from clipcli.runs.folders import embedded

        no_cache = self._arguments.query.no_cache
        cache = None if no_cache else TextCache(picture_cache_file(), "picture")
        options = SourceOptions(recursive=True, hidden=self._arguments.places.hidden)
        refs = expand([name], None, sys.stdin.buffer, options)
        return embedded(refs, engine, self._options, cache)

    def _counted(self, sources: Sources) -> Sources:
        """The same; what failed is told, and all are counted."""
        return ((name, map(self._count, blocks)) for name, blocks in sources)

    def _count(self, block: Block) -> Block:
        from clipcli.heads.results import Failure

        self._tally.add_answered(len(block.refs) - len(block.failures))
        for place, error in block.failures.items():
            failure = Failure.of(block.refs[place], error)
            self._tally.add(failure)
            self._console.failure(failure)
        return block

    def _query(self, engine: Engine, wanted: LabelSet | None, unwanted: LabelSet | None) -> Float32:
        import numpy as np

        from clipcli.embeddings.search import query
        from clipcli.heads.zero_shot import text_embeddings

        def rows(texts: LabelSet | None) -> Float32:
            return none if texts is None else text_embeddings(engine, texts, self._text_cache())

        none = np.empty((0, engine.info.embed_dim), np.float32)
        return query(rows(wanted), self._image_rows(engine, none), rows(unwanted))

    def _text_cache(self) -> TextCache | None:
        from clipcli.disk.paths import text_cache_file
        from clipcli.heads.text_cache import TextCache

        return None if self._arguments.query.no_cache else TextCache(text_cache_file())

    def _image_rows(self, engine: Engine, none: Float32) -> Float32:
        import numpy as np

        from clipcli.runs.pipeline import encode

        refs = expand(self._arguments.query.images, None, sys.stdin.buffer, SourceOptions())
        blocks = encode(refs, engine, self._options) if self._arguments.query.images else ()
        found = [none]
        for block in blocks:
            for place, error in block.failures.items():
                raise UsageError(f"--image {block.refs[place].name}: {error}")
            if block.embeddings is not None:
                found.append(block.embeddings)
        return np.concatenate(found)

    def _list_duplicates(self, engine: Engine | None) -> int:
        from clipcli.embeddings.duplicates import USUAL_SIMILARITY, duplicates
        from clipcli.embeddings.files import open_embeddings

        asked = self._arguments.found.duplicate_similarity
        similarity = USUAL_SIMILARITY if asked is None else asked
        sources = self._counted(self._sources(engine))
        if engine is not None:
            model = {"name": engine.info.name, "fingerprint": engine.info.fingerprint}
            width = engine.info.embed_dim
        else:
            made = open_embeddings(Path(self._arguments.stored[0])).description
            model, width = {"name": made.model, "fingerprint": made.fingerprint}, made.embed_dim
        groups = duplicates(sources, width, similarity)
        self._write([hit for group in groups for hit in group], model, counts="group")
        return self._end()

    def _show(self, hits: Sequence[Hit], engine: Engine) -> None:
        from clipcli.runs.rescore import with_thumbnails

        info = engine.info
        report, previews = self._report(engine), open_previews(self._arguments)
        options = with_previews(with_pictures(self._options, report), previews)
        if options.thumbnails is not None:
            for _ in with_thumbnails([_as_block(hits)], info.preprocess, options):
                pass
        self._write(hits, {"name": info.name, "fingerprint": info.fingerprint}, previews)
        if report is not None:
            with report:
                for result in _as_results(hits, self._title):
                    report.add(result)
                report.finish()

    @property
    def _title(self) -> str:
        query = self._arguments.query
        wanted = [*self._arguments.texts, *(os.path.basename(image) for image in query.images)]
        return " + ".join(wanted) + "".join(f" - {text}" for text in query.unwanted)

    def _report(self, engine: Engine) -> Report | None:
        from clipcli.cli.running.settings import run_settings

        page = self._arguments.page.report
        if page is None:
            return None
        settings = run_settings(self._arguments, engine.info)
        title = f"Search: {self._title}"
        return open_report(page, title, [self._title], settings, self._console.words)

    def _write(
        self,
        hits: Sequence[Hit],
        model: dict[str, str],
        previews: Previews | None = None,
        *,
        counts: str = "rank",
    ) -> None:
        from clipcli.outputs.hits import HIT_FORMATS, HitOptions

        arguments, stream = self._arguments, results_stream()
        if arguments.found.paths or arguments.found.print0:
            end = "\0" if arguments.found.print0 else "\n"
            stream.writelines(hit.name + end for hit in hits)
        else:
            on_terminal = sys.stdout.isatty()
            color = on_terminal and arguments.color.wanted
            options = HitOptions(model, counts, color, arguments.formats.raw, previews)
            HIT_FORMATS[arguments.format_name(on_terminal=on_terminal)](hits, stream, options)
        stream.flush()

    def _end(self) -> int:
        if not self._tally.total:
            self._console.hint("there are no pictures")
        return code_of_run(self._tally)


def _as_block(hits: Sequence[Hit]) -> Block:
    """Pictures by their ranks, as whoever makes thumbnails wants them."""
    from clipcli.embeddings.rows import Block
    from clipcli.images.sources import ImageRef

    return Block([ImageRef(place, hit.name, b"") for place, hit in enumerate(hits)], None)


def _as_results(hits: Sequence[Hit], label: str) -> Iterator[Prediction]:
    """Hits as the report shows results: in rank order, with one bar, as long as the cosine."""
    from clipcli.heads.results import LabelScore, Prediction

    for place, hit in enumerate(hits):
        score = LabelScore(label, max(0.0, hit.similarity), hit.similarity)
        yield Prediction(place, hit.name, (score,), label)
