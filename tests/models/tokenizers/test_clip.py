"""Every id must be open_clip's own: the tokenizer is compared with it on all kinds of text."""
# ruff: noqa: RUF001 -- the texts are ambiguous on purpose

import os
import subprocess
import sys
import unicodedata
from copy import deepcopy
from functools import cache
from itertools import permutations
from pathlib import Path
from random import Random
from typing import get_args

import numpy as np
import open_clip
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from open_clip.tokenizer import SimpleTokenizer

import clipcli
from clipcli.models.tokenizers import clip as tokenizer
from clipcli.models.tokenizers.clip import (
    CleanMode,
    ClipTokenizer,
    TokenizerConfig,
    write_tokenizer_file,
)

CLEAN_MODES = get_args(CleanMode)

TEXTS = [
    "a photo of a cat",
    "A Photo of a CAT.",
    "",
    " ",
    " \t\r\n\v\f\x1c\x85\u00a0\u2028\u3000",
    "two  spaces,\ttab\nnewline",
    "“curly” ‘quotes’ – and — dashes…",
    "fish &amp; chips, &amp;amp; again, &lt;b&gt; &eacute; &#39;s &quot &nbsp; &copy",
    "<b>fish &amp; chips</b>",
    "AT&T & Co",
    "ﬁlm, ﬂoor, oﬃce, ＦＵＬＬ ｗｉｄｔｈ",
    "voilÃ  le cafÃ© â€œmojibakeâ€\x9d schÃ¶n",
    "\x1b[31mred\x1b[0m alert",
    "café cafe\u0301 naïve Zürich Ærøskøbing straße İstanbul ıI ſharp K",
    "😀👍🏽👩\u200d👩\u200d👧🇩🇪 emoji",
    "猫の写真 一张猫的照片 고양이 사진",
    "Это фото кота, صورة قطة, תמונה של חתול, रोटी, ไก่",
    "α\u0345 ᾳ \u0345 a\u0345b",
    "<start_of_text> a cat <end_of_text>",
    "<START_OF_TEXT><End_Of_Text>cat<end_of_text",
    "<|startoftext|>a cat<|endoftext|>",
    "a</w> </w> <ſtart_of_text>",
    "it's he'll we've I'm they'd you're don't 'S 'T rock'n'roll '' 'stop",
    "1 22 333 4,444.5 ½ Ⅻ ٣ ² 1st x2y",
    "_under_score_ {braces} [a-b] c++ #tag @user 50% $9 ~`^|\\/",
    "NUL\x00in\x07the\x08middle \x7f\x80\x9f\ufeff\ufffe\uffff\U0010ffff",
    "lone \ud800 surrogates \udfff, and a pair \ud83d\ude00, &#xD800;",
    "supercalifragilisticexpialidocious" * 3,
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "long " * 500,
    "!?" * 200,
    "&#0; &#x80; &#12; &#x110000; &#99999999999; &bogus; &;",
]
TEMPLATES = ["{}", "a {} in a video game, “Nº 1”."]


@cache
def ours(clean="lower", context_length=77):
    return ClipTokenizer(TokenizerConfig(context_length, clean))


@cache
def theirs(clean="lower"):
    return SimpleTokenizer(clean=clean)


def assert_same(texts, clean="lower", context_length=77):
    tokens = ours(clean, context_length)(texts)
    expected = theirs(clean)(texts, context_length=context_length).numpy()
    assert tokens.ids.dtype == expected.dtype
    for text, row, expected_row in zip(texts, tokens.ids, expected, strict=True):
        assert row.tolist() == expected_row.tolist(), (text, clean)
    whole = [len(theirs(clean).encode(text)) + 2 for text in texts]
    assert tokens.lengths.tolist() == [min(length, context_length) for length in whole]
    assert list(tokens.truncated) == [i for i, n in enumerate(whole) if n > context_length]


@pytest.mark.parametrize("context_length", [1, 2, 3, 16, 77])
@pytest.mark.parametrize("clean", CLEAN_MODES)
def test_ids_are_open_clips_on_awkward_texts(clean, context_length):
    assert_same(TEXTS, clean, context_length)


def test_ids_are_those_of_the_default_models_tokenizer():
    expected = open_clip.get_tokenizer("ViT-B-32")(TEXTS)
    assert np.array_equal(ours()(TEXTS).ids, expected.numpy())


@pytest.mark.parametrize("clean", ["whitespace", "canonicalize"])
def test_ids_are_open_clips_on_all_imagenet_names_in_the_rarer_modes(clean):
    for template in TEMPLATES:
        assert_same([template.format(name) for name in open_clip.IMAGENET_CLASSNAMES], clean)


def test_ids_are_open_clips_on_every_name_and_template_that_it_ships():
    templates = (*open_clip.OPENAI_IMAGENET_TEMPLATES, *open_clip.SIMPLE_IMAGENET_TEMPLATES)
    assert len(templates) == 80 + 7
    for position, template in enumerate(templates):
        # Each template meets a quarter of the names, each name 21 templates: all 87,000 take 5 s.
        names = open_clip.IMAGENET_CLASSNAMES[position % 4 :: 4]
        for prompt in map(template, names):
            assert ours().encode(prompt) == theirs().encode(prompt), prompt


SHORT = [text for text in TEXTS if len(text) < 100]  # the long ones take long to join
PIECES = st.one_of(
    st.text(),
    st.text(st.characters(max_codepoint=127)),
    st.text("Ãâ€™œ©¼\u0080\u0099&;# a"),
    st.text("aeinorst", min_size=8, max_size=40),
    st.sampled_from([*SHORT, "'", "'s", "&amp;", "&#", "<start_of_text>", "<END_OF_TEXT>", "_"]),
)


def test_ids_are_open_clips_on_ten_thousand_generated_texts():
    seen = set()

    @settings(max_examples=420, deadline=None)
    @given(
        st.lists(PIECES, min_size=6, max_size=6, unique=True),
        st.sampled_from(CLEAN_MODES),
        st.integers(1, 20),
    )
    def compare(pieces, clean, context_length):
        texts = ["".join(pair) for pair in permutations(pieces, 2)]
        seen.update(texts)
        for text in texts:
            assert ours(clean).encode(text) == theirs(clean).encode(text), text
        assert_same(texts[:1], clean, context_length)

    compare()
    assert len(seen) >= 10_000


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_the_short_way_for_plain_ascii_changes_nothing(text):
    for clean in CLEAN_MODES:
        assert ours(clean).encode(text) == theirs(clean).encode(text)


@pytest.mark.parametrize(
    ("layout", "left_out", "least"),
    # The 127,000 letters without case (Lo: ideographs, Hangul) are tried alone only, to save time.
    [("{}", {"Cn", "Co", "Cs"}, 140_000), ("x{}y", {"Cn", "Co", "Cs", "Lo"}, 15_000)],
)
def test_every_assigned_code_point_gives_open_clips_ids(layout, left_out, least):
    chars = [chr(code) for code in range(sys.maxunicode + 1)]
    chars = [char for char in chars if unicodedata.category(char) not in left_out]
    assert len(chars) > least
    for start in range(0, len(chars), 256):
        text = " ".join(layout.format(char) for char in chars[start : start + 256])
        assert ours("whitespace").encode(text) == theirs("whitespace").encode(text), start


def test_every_token_is_what_its_letters_merge_to():
    # The tokenizer relies on it: a token's id is then its merge's rank, and a token needs no merge.
    reference = theirs()
    vocabulary = tokenizer._vocabulary()
    assert vocabulary == reference.encoder
    assert len(vocabulary) == 49408
    loner = chr(256)  # the letter of byte 0, which merges with nothing
    assert not any(loner in token for token in list(vocabulary)[512:])
    for token in list(vocabulary)[512:-2]:
        if token.endswith("</w>"):
            assert reference.bpe(token.removesuffix("</w>")) == token
        else:
            assert reference.bpe(token + loner) == f"{token} {loner}</w>"


SPECIAL_PARTS = (
    *("<mask>", "<MASK>", "<Mask>", "<a/b>", "<x_1>", "<3d>", "<it's>", "<a&b>", "<<mask>>"),
    *("<start_of_text>", "<end_of_text>", "cat", "mask", "<", ">", " ", "'s", "3", "é", "ﬁ", "’"),
    *("&lt;mask&gt;", "&amp;", "_", "<mask>s"),
)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"additional_special_tokens": None, "reduction_mask": ""},
        {"additional_special_tokens": []},
        {"clean": "whitespace"},
        {"clean": "canonicalize"},
        {"additional_special_tokens": ["<mask>"]},
        {"additional_special_tokens": ["<Mask>", "<a/b>", "<x_1>"], "clean": "whitespace"},
        {"additional_special_tokens": ["<mask>", "<3d>", "<it's>", "<a&b>"]},
        {"additional_special_tokens": ["<mask>"], "clean": "canonicalize"},
    ],
    ids=str,
)
def test_the_options_of_a_configuration_are_open_clips(options):
    rng = Random(0)
    texts = ["".join(rng.choices(SPECIAL_PARTS, k=rng.randint(0, 12))) for _ in range(400)]
    config = TokenizerConfig.from_open_clip({"context_length": 20, "tokenizer_kwargs": options})
    expected = SimpleTokenizer(context_length=20, **deepcopy(options))(texts).numpy()
    assert_array_equal(ClipTokenizer(config)(texts).ids, expected)
    added = options.get("additional_special_tokens") or []
    if any(token.islower() for token in added) and options.get("clean") != "canonicalize":
        assert expected.max() >= 49408


@pytest.mark.parametrize(
    "tokens",
    [
        *(["mask"], ["[MASK]"], ["<|image|>"], ["<a b>"], ["<>"], ["<->"], ["<ä>"], ["<a>b"]),
        *(["(a+)+$"], ["."], [""], ["<a>", "<a>"], ["<end_of_text>"], ["<" + "a" * 64 + ">"]),
        [f"<{number}>" for number in range(4097)],
    ],
)
def test_a_special_token_that_open_clip_reads_as_something_else_is_refused(tokens):
    with pytest.raises(ValueError, match=r"is there twice|none of the form '<name>'"):
        TokenizerConfig(special_tokens=tuple(tokens))


def test_a_cut_text_is_named_and_still_ends_with_the_end_of_text():
    tokens = ours()(["a cat", "cat " * 75, "cat " * 76])
    assert tokens.truncated == (2,)
    assert tokens.lengths.tolist() == [4, 77, 77]
    assert tokens.ids[2, -1] == ours().end_id


def test_rows_are_padded_with_the_pad_id():
    tokens = ClipTokenizer(TokenizerConfig(context_length=6, pad_id=-1))(["cat"])
    assert tokens.ids.tolist() == [[49406, 2368, 49407, -1, -1, -1]]


def test_a_single_string_is_one_text_and_no_text_is_no_row():
    assert ours()("a cat").ids.shape == (1, 77)
    assert ours()([]).ids.shape == (0, 77)


def test_a_text_that_open_clip_fails_on_is_a_clear_error():
    text = "cat &#" + "9" * 5000
    with pytest.raises(ValueError, match="4300 digits"):
        theirs().encode(text)
    with pytest.raises(ValueError, match=r"a text cannot be cleaned .*'cat &#999"):
        ours()([text])


@pytest.mark.parametrize("wrong", [{"context_length": 0}, {"clean": "upper"}])
def test_a_wrong_configuration_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TokenizerConfig(**wrong)


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / "tokenizer.json"
    write_tokenizer_file(path)
    return path


def test_a_written_tokenizer_gives_the_same_ids(tokenizer_file):
    for clean in CLEAN_MODES:
        read = ClipTokenizer(TokenizerConfig(clean=clean), tokenizer_file)
        assert np.array_equal(read(TEXTS).ids, ours(clean)(TEXTS).ids)


def test_hugging_face_reads_the_written_file_and_agrees_word_by_word(tokenizer_file):
    model = pytest.importorskip("tokenizers").Tokenizer.from_file(str(tokenizer_file)).model
    words = {word.lower() for name in open_clip.IMAGENET_CLASSNAMES for word in name.split()}
    for word in filter(str.isalpha, words):
        spelled = "".join(theirs().byte_encoder[byte] for byte in word.encode())
        assert [token.id for token in model.tokenize(spelled)] == ours().encode(word)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"model": 0}',
        b'{"model": {"vocab": []}}',
        b'{"model": {"vocab": {}}}',
    ],
)
def test_a_file_without_the_vocabulary_is_refused_by_name(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"tokenizer\.json: not a "):
        ClipTokenizer(TokenizerConfig(), path)


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        ClipTokenizer(TokenizerConfig(), tmp_path / "tokenizer.json")


def test_without_open_clip_the_error_names_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="open_clip is not installed"):
        ClipTokenizer(TokenizerConfig())


def loaded_after(code, *arguments):
    """Return the modules that a new process holds after running `code`."""
    source = Path(clipcli.__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(source)},
    )
    return set(run.stdout.split())


def test_heavy_libraries_are_loaded_only_when_a_text_needs_them(tokenizer_file):
    heavy = {"torch", "open_clip", "tokenizers", "numpy", "ftfy", "regex"}
    assert not heavy & loaded_after("import clipcli.models.tokenizers.clip")
    code = (
        "import sys; from pathlib import Path\n"
        "from clipcli.models.tokenizers.clip import ClipTokenizer, TokenizerConfig\n"
        "file = Path(sys.argv[2]) if sys.argv[2:] else None\n"
        "ClipTokenizer(TokenizerConfig(), file)([sys.argv[1]])"
    )
    assert heavy & loaded_after(code, "a cat", tokenizer_file) == {"numpy"}
    assert heavy & loaded_after(code, "eine Kätzin") == {"numpy", "ftfy", "regex"}
