"""Pictures with their labels: folders of class folders, CSV and TSV files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clipcli.errors import ClipcliWarning, FailureCode, InputError, UsageError
from clipcli.images.dataset import Dataset, read_dataset
from clipcli.images.sources import Url


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def listed(data: Dataset, root: Path) -> list[tuple[str, str]]:
    """Path below a folder and label of each image."""
    assert [ref.index for ref in data.refs] == list(range(len(data.refs)))
    assert [str(ref.source) for ref in data.refs] == [ref.name for ref in data.refs]
    paths = [Path(ref.name).relative_to(root).as_posix() for ref in data.refs]
    return list(zip(paths, data.labels, strict=True))


@pytest.fixture
def written(tmp_path: Path):
    """Reads the data set of a file with some text."""

    def read(text: str | bytes, name: str = "labels.csv") -> Dataset:
        raw = text.encode() if isinstance(text, str) else text
        (tmp_path / name).write_bytes(raw)
        return read_dataset(str(tmp_path / name))

    return read


def test_each_folder_is_a_class_with_spaces_for_underscores(tmp_path: Path) -> None:
    make(tmp_path, "traffic_light/b.jpg", "traffic_light/a.PNG", "Cat/x.webp", "dog/notes.txt")
    make(tmp_path, "dog/y.jpeg")

    data = read_dataset(str(tmp_path))

    assert listed(data, tmp_path) == [
        ("Cat/x.webp", "Cat"),
        ("dog/y.jpeg", "dog"),
        ("traffic_light/a.PNG", "traffic light"),
        ("traffic_light/b.jpg", "traffic light"),
    ]
    assert data.classes == ("Cat", "dog", "traffic light")


def test_folders_in_a_class_folder_belong_to_the_class(tmp_path: Path) -> None:
    make(tmp_path, "cat/2023/may/a.jpg", "cat/2024/b.jpg", "dog/c.jpg")

    assert listed(read_dataset(str(tmp_path)), tmp_path) == [
        ("cat/2023/may/a.jpg", "cat"),
        ("cat/2024/b.jpg", "cat"),
        ("dog/c.jpg", "dog"),
    ]


def test_hidden_files_and_folders_are_no_images(tmp_path: Path) -> None:
    make(tmp_path, ".git/a.jpg", "cat/._a.jpg", "cat/.cache/b.jpg", "cat/c.jpg", ".DS_Store")

    assert listed(read_dataset(str(tmp_path)), tmp_path) == [("cat/c.jpg", "cat")]


def test_a_hidden_folder_above_hides_nothing(tmp_path: Path) -> None:
    make(tmp_path, ".data/cat/c.jpg")

    assert read_dataset(str(tmp_path / ".data")).labels == ("cat",)


def test_class_folders_without_images_are_told_and_are_no_classes(tmp_path: Path) -> None:
    make(tmp_path, "cat/a.jpg", "bird/notes.txt", "fish/.hidden.jpg")

    with pytest.warns(ClipcliWarning, match=r"without images, left out: bird, fish$"):
        assert read_dataset(str(tmp_path)).classes == ("cat",)


def test_images_outside_of_class_folders_are_told(tmp_path: Path) -> None:
    make(tmp_path, "cat/a.jpg", "loose.jpg", "other.PNG", "notes.txt", ".hidden.jpg")

    with pytest.warns(ClipcliWarning, match=r"outside of class folders, left out: 2$"):
        assert listed(read_dataset(str(tmp_path)), tmp_path) == [("cat/a.jpg", "cat")]


def test_a_class_folder_may_be_a_link(tmp_path: Path) -> None:
    make(tmp_path, "all/cat/a.jpg", "some/dog/b.jpg")
    (tmp_path / "some" / "cat").symlink_to(tmp_path / "all" / "cat")

    assert read_dataset(str(tmp_path / "some")).labels == ("cat", "dog")


def test_a_class_folder_that_cannot_be_read_is_a_failure(tmp_path: Path, monkeypatch) -> None:
    make(tmp_path, "cat/a.jpg", "dog/b.jpg")
    scan = os.scandir

    def refused(folder: str) -> object:
        if Path(folder).name == "cat":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refused)

    refs = read_dataset(str(tmp_path)).refs

    assert isinstance(refs[0].source, InputError)
    assert refs[0].source.code is FailureCode.UNREADABLE


def test_folders_of_one_label_are_one_class(tmp_path: Path) -> None:
    make(tmp_path, "ice_cream/a.jpg", "ice cream/b.jpg")

    assert read_dataset(str(tmp_path)).classes == ("ice cream",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain.csv", "a.jpg,cat\nsub/b.jpg,big dog\n"),
        ("plain.tsv", "a.jpg\tcat\nsub/b.jpg\tbig dog\n"),
        ("tabs.txt", "a.jpg\tcat\nsub/b.jpg\tbig dog"),
        ("headed.csv", "path,label\na.jpg,cat\nsub/b.jpg,big dog\n"),
        ("headed.tsv", "file\tlabel\na.jpg\tcat\nsub/b.jpg\tbig dog\n"),
        ("turned.csv", "id,Class,width, File_Name\n1,cat,9,a.jpg\n2,big dog,9,sub/b.jpg\n"),
        ("quoted.csv", '"path","label"\r\n"a.jpg","cat"\r\n"sub/b.jpg","big dog"\r\n'),
        ("mark.csv", "\ufeffpath,label\na.jpg,cat\nsub/b.jpg,big dog\n"),
        ("mark_only.csv", "\ufeffa.jpg,cat\nsub/b.jpg,big dog\n"),
        ("spaced.csv", "\n a.jpg , cat \n,\n\nsub/b.jpg, big dog,more\n"),
    ],
)
def test_a_file_names_paths_beside_it_and_labels(written, tmp_path, name, text) -> None:
    assert listed(written(text, name), tmp_path) == [("a.jpg", "cat"), ("sub/b.jpg", "big dog")]


def test_cells_may_hold_commas_quotes_and_lines(written) -> None:
    data = written('a.jpg,"cat, black"\nb.jpg,"5"" nail"\nc.jpg,"two\nlines"\nd.jpg,snow_owl\n')

    assert data.labels == ("cat, black", '5" nail', "two\nlines", "snow_owl")


def test_absolute_paths_and_addresses_are_taken_as_they_are(written) -> None:
    data = written("/photos/a.jpg,cat\nhttps://me:secret@example.org/b.jpg?x=1,dog\n")

    assert [ref.name for ref in data.refs] == ["/photos/a.jpg", "https://example.org/b.jpg?x=1"]
    assert data.refs[0].source == Path("/photos/a.jpg")
    assert data.refs[1].source == Url("https://me:secret@example.org/b.jpg?x=1")


def test_a_file_in_the_working_folder_names_paths_as_they_are(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("labels.csv").write_text("a.jpg,cat\n")

    assert read_dataset("labels.csv").refs[0].name == "a.jpg"


def test_an_image_listed_twice_with_one_label_counts_twice(written) -> None:
    assert written("a.jpg,cat\na.jpg,cat\n").labels == ("cat", "cat")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg,cat\nb.jpg,\n", "line 2: no label for b.jpg: write it in column 2"),
        ("a.jpg,cat\n\n\nb.jpg\n", "line 4: no label for b.jpg"),
        ("label,path\ncat,a.jpg\ndog\n", "line 3: no path for the label 'dog'"),
        ("label,path\n,a.jpg\n", "line 2: no label for a.jpg: write it in column 1"),
        ("img_id,species\na.jpg,cat\n", "line 1: 'img_id' names no image: head the columns"),
        ("a.jpg,cat\nb.jpg,dog\na.jpg,dog\n", "line 3: a.jpg is 'dog' here and 'cat' on line 1"),
        ('a.jpg,"cat\n', "line 1: unexpected end of data: quote whole cells, and double the"),
        ('a.jpg,cat\nb.jpg,"big" dog\n', "line 2: ',' expected after '\"': quote whole cells"),
        ("", "no images with labels: name a folder of class folders, or a CSV or TSV file"),
        ("path,label\n", "no images with labels"),
        (b"\xff\xd8\xff\xe0\n", "not UTF-8 text: name a folder of class folders"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(written, text, message) -> None:
    with pytest.raises(UsageError, match=r"labels\.csv: ") as caught:
        written(text)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b.jpg")

    with pytest.raises(UsageError, match="no images with labels: name a folder of class folders"):
        read_dataset(str(tmp_path))


def test_data_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*gone \(No such file or directory\)"):
        read_dataset(str(tmp_path / "gone"))


def test_a_row_that_names_a_folder_says_what_to_name_instead(written, tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()

    (ref,) = written("path,label\nholiday,cat\n").refs

    assert isinstance(ref.source, InputError)
    assert (ref.source.code, ref.source.message) == (
        FailureCode.IS_A_FOLDER,
        "a folder: name an image in it",
    )
