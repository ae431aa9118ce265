"""Blocks of results to text at once: what the writers write one by one, without their objects."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from itertools import repeat
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING

from clipcli.heads.labels import UNKNOWN
from clipcli.heads.scored import ScoredBlock
from clipcli.images.stored import indices_of, names_of
from clipcli.outputs.writers import (
    CsvWriter,
    JsonlWriter,
    OutputOptions,
    TsvWriter,
    Writer,
    csv_rows,
    csv_text,
    model_fields,
    record,
    tsv_cell,
)

if TYPE_CHECKING:
    from clipcli.heads.results import Result


def write_results(writer: Writer, results: Sequence[Result]) -> None:
    """Write the results of some images, at once where the format can."""
    # By its very class: one made of it may write something else.
    text_of = _AT_ONCE.get(type(writer))
    if text_of is None or not isinstance(results, ScoredBlock) or _is_special(results):
        for result in results:
            writer.write(result)
        return
    assert isinstance(writer, TsvWriter | CsvWriter | JsonlWriter)
    writer.stream.write(text_of(results, writer.options))
    writer.stream.flush()


def _is_special(block: ScoredBlock) -> bool:
    return bool(block.failures) or block.margins is not None


def _tsv(block: ScoredBlock, options: OutputOptions) -> str:
    shown = options.top_k or 1
    columns: list[Sequence[str]] = [_tsv_names(names_of(block.refs))]
    for rank in range(min(shown, block.places.shape[1])):
        labels = _labels(block, rank, tsv_cell)
        columns.append(_answers(block, labels, UNKNOWN) if rank == 0 else labels)
        columns.append([f"{share:.6f}" for share in block.probabilities[:, rank].tolist()])
    return "".join(f"{line}\n" for line in map("\t".join, zip(*columns, strict=True)))


def _tsv_names(names: Sequence[str]) -> Sequence[str]:
    together = "".join(names)
    # As nearly all are: no character of it is one that is escaped.
    is_plain = together.isprintable() and "\\" not in together
    return names if is_plain else list(map(tsv_cell, names))


def _csv(block: ScoredBlock, options: OutputOptions) -> str:
    def text(cell: str) -> str:
        return csv_text(cell, raw=options.raw)

    columns = []
    for rank in range(block.places[:, : options.shown].shape[1]):
        numbers = (part[:, rank].tolist() for part in (block.probabilities, block.similarities))
        labels = _labels(block, rank, text)
        columns.append(list(zip(repeat(rank + 1), labels, *numbers, repeat(""), repeat(""))))
    answers = _answers(block, _labels(block, 0, text), UNKNOWN)
    heads = zip(indices_of(block.refs), map(text, names_of(block.refs)), repeat("ok"), answers)
    file = io.StringIO(newline="")
    of_images = zip(heads, zip(*columns, strict=True), strict=True)
    csv_rows(file).writerows(head + row for head, rows in of_images for row in rows)
    return file.getvalue()


def _jsonl(block: ScoredBlock, options: OutputOptions) -> str:
    cells = []
    for rank in range(block.places[:, : options.shown].shape[1]):
        numbers = (part[:, rank].tolist() for part in (block.probabilities, block.similarities))
        labels = _labels(block, rank, encode_basestring_ascii)
        cells.append(
            [
                f'{{"label": {label}, "probability": {probability!r}, "similarity": {cosine!r}}}'
                for label, probability, cosine in zip(labels, *numbers, strict=True)
            ]
        )
    answers = _answers(block, _labels(block, 0, encode_basestring_ascii), "null")
    predictions = map(", ".join, zip(*cells, strict=True))
    model = json.dumps(model_fields(options))
    lines = [
        f'{{"index": {index}, "input": {encode_basestring_ascii(name)}, "status": "ok",'
        f' "answer": {answer}, "predictions": [{shown}], "model": {model}}}\n'
        for index, name, answer, shown in zip(
            indices_of(block.refs), names_of(block.refs), answers, predictions, strict=True
        )
    ]
    for place in _marked(block):
        lines[place] = json.dumps(record(block[place], options), allow_nan=False) + "\n"
    return "".join(lines)


def _marked(block: ScoredBlock) -> list[int]:
    """Places of the few results whose record has more fields than others."""
    names = names_of(block.refs)
    odd = () if _is_unicode("".join(names)) else range(len(names))
    strange = {place for place in odd if not _is_unicode(names[place])}
    marks = block.is_doubtful if block.is_novel is None else block.is_doubtful | block.is_novel
    return sorted({*marks.nonzero()[0].tolist(), *block.sights, *strange})


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _labels(block: ScoredBlock, rank: int, cell: Callable[[str], str]) -> list[str]:
    """The labels of a rank, each made a cell once."""
    places = block.places[:, rank].tolist()
    cells = {place: cell(block.labels[place]) for place in set(places)}
    return [cells[place] for place in places]


def _answers(block: ScoredBlock, best: list[str], unknown: str) -> list[str]:
    if block.is_known.all():
        return best
    pairs = zip(best, block.is_known.tolist(), strict=True)
    return [label if is_known else unknown for label, is_known in pairs]


_AT_ONCE: dict[type, Callable[[ScoredBlock, OutputOptions], str]] = {
    TsvWriter: _tsv,
    CsvWriter: _csv,
    JsonlWriter: _jsonl,
}
