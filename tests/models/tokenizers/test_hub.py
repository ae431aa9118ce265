"""Small tokenizers of the hub's usual shapes, compared with what transformers makes of them."""

import subprocess
import sys
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_files import CORPUS, closed_by, save, siglip, special, t5
from tokenizers import (
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from clipcli.models.tokenizers.hub import HubTokenizer, HubTokenizerConfig, read_config

TEXTS = [
    "a photo of a cat",
    "A Photo, of_a  CAT!",
    "",
    " \t\n",
    "café naïve ﬁlm 猫 😀 \x1b[31m voilÃ  “quoted”",
    "fish &amp;amp; chips &lt;pad&gt;",
    "</s> [SEP] <pad>[PAD] <|endoftext|><eos> [CLS]",
    "long photo of an english springer spaniel " * 40,
]


def bert():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(**special("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer, {"tokenizer_class": "BertTokenizer", "do_lower_case": True}


def gpt2():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(initial_alphabet=alphabet, **special("<|endoftext|>"))
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    pad = {"__type": "AddedToken", "content": "<|endoftext|>", "lstrip": False, "rstrip": False}
    pad |= {"normalized": False, "single_word": False}
    return tokenizer, {"tokenizer_class": "GPT2Tokenizer", "pad_token": pad}


def gemma():
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    trainer = trainers.BpeTrainer(**special("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *bytes_))
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = closed_by("<eos>", 1)
    config = {"tokenizer_class": "GemmaTokenizer", "padding_side": "right", "pad_token": "<pad>"}
    return tokenizer, {
        **config,
        "add_bos_token": False,
        "add_eos_token": True,
        "eos_token": "<eos>",
    }


OPTIONS = {
    t5: {},
    siglip: {"clean": "canonicalize"},
    bert: {"strip_sep_token": True},
    gpt2: {"clean": "lower"},
    gemma: {"clean": "canonicalize"},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One folder a shape, as a repository of the hub holds it."""
    root = tmp_path_factory.mktemp("hub")
    return {shape: save(root / shape.__name__, *shape()) for shape in OPTIONS}


def load(folder, context_length=16, **options):
    text_cfg = {"context_length": context_length, "tokenizer_kwargs": options}
    return HubTokenizer(read_config(text_cfg, folder), folder / "tokenizer.json")


@pytest.mark.parametrize(
    ("shape", "options", "begin", "end", "pad"),
    [
        (t5, {}, [], ["</s>"], "<pad>"),
        (siglip, {"clean": "canonicalize"}, [], ["</s>"], "</s>"),
        (bert, {}, ["[CLS]"], ["[SEP]"], "[PAD]"),
        (bert, {"strip_sep_token": True}, ["[CLS]"], ["[PAD]"], "[PAD]"),
        (gpt2, {"clean": "lower"}, [], [], "<|endoftext|>"),
        (gemma, {"clean": "canonicalize"}, [], ["<eos>"], "<pad>"),
    ],
)
class TestRows:
    def test_a_text_stands_between_its_tokenizers_tokens(
        self, folders, shape, options, begin, end, pad
    ):
        reader = Tokenizer.from_file(str(folders[shape] / "tokenizer.json"))
        words = reader.encode("a photo of a dog", add_special_tokens=False).tokens
        tokens = load(folders[shape], **options)(["a photo of a dog"])
        text = [*begin, *words, *end]
        row = [reader.id_to_token(number) for number in tokens.ids[0]]
        assert row == text + [pad] * (16 - len(text))
        assert tokens.lengths.tolist() == [len(text)]
        assert tokens.truncated == ()

    def test_a_cut_text_is_named_and_keeps_these_tokens(
        self, folders, shape, options, begin, end, pad
    ):
        tokens = load(folders[shape], 8, **options)(["a dog", "a photo of a dog " * 9])
        reader = Tokenizer.from_file(str(folders[shape] / "tokenizer.json"))
        row = [reader.id_to_token(number) for number in tokens.ids[1]]
        assert tokens.truncated == (1,)
        assert tokens.lengths[1] == 8
        assert row[: len(begin)] == begin
        assert row[8 - len(end) :] == end
        assert len(set(row) - {pad}) > 1


def test_a_single_string_is_one_text_and_no_text_is_no_row(folders):
    tokenize = load(folders[siglip], 64)
    assert tokenize("a cat").ids.shape == (1, 64)
    assert tokenize([]).ids.shape == (0, 64)


@pytest.fixture(scope="module")
def theirs(folders):
    """open_clip's own tokenizers, where transformers is installed."""
    pytest.importorskip("transformers")
    from open_clip.tokenizer import HFTokenizer

    return {
        shape: HFTokenizer(str(folders[shape]), **options) for shape, options in OPTIONS.items()
    }


class TestTransformers:
    """Equality with open_clip's class for such tokenizers."""

    @pytest.mark.parametrize("context_length", [2, 3, 16, 64])
    @pytest.mark.parametrize("shape", OPTIONS)
    def test_ids_are_open_clips_on_awkward_texts(self, folders, theirs, shape, context_length):
        ours = load(folders[shape], context_length, **OPTIONS[shape])
        for text in TEXTS:
            expected = theirs[shape]([text], context_length)
            assert ours([text]).ids.tolist() == expected.tolist(), text

    @pytest.mark.parametrize("shape", OPTIONS)
    @settings(max_examples=100, deadline=None)
    @given(texts=st.lists(st.text() | st.sampled_from(TEXTS), min_size=1, max_size=4))
    def test_ids_are_open_clips_on_any_text(self, folders, theirs, shape, texts):
        text = "".join(texts)
        expected = theirs[shape]([text], 16)
        assert load(folders[shape], 16, **OPTIONS[shape])([text]).ids.tolist() == expected.tolist()

    @pytest.mark.parametrize("shape", OPTIONS)
    def test_ids_are_open_clips_on_all_prompts(self, folders, theirs, shape):
        ours = load(folders[shape], 32, **OPTIONS[shape])(CORPUS)
        assert ours.ids.tolist() == theirs[shape](CORPUS, 32).tolist()


class TestSettings:
    def read(self, tmp_path, shape=t5, special_tokens=None, text_cfg=None, **changes):
        tokenizer, config = shape()
        folder = save(tmp_path, tokenizer, {**config, **changes}, special_tokens)
        return read_config(text_cfg or {}, folder)

    def test_open_clips_defaults(self, tmp_path):
        assert asdict(self.read(tmp_path)) == {
            "context_length": 77,
            "pad_id": 0,
            "clean": "whitespace",
            "strip_id": None,
        }

    def test_open_clips_options_for_its_siglip_and_its_clipa(self, tmp_path):
        kwargs = {"clean": "canonicalize"}
        config = self.read(
            tmp_path, siglip, text_cfg={"context_length": 64, "tokenizer_kwargs": kwargs}
        )
        assert config == HubTokenizerConfig(64, pad_id=1, clean="canonicalize")
        kwargs = {"strip_sep_token": True}
        config = self.read(
            tmp_path, bert, text_cfg={"context_length": 32, "tokenizer_kwargs": kwargs}
        )
        assert config == HubTokenizerConfig(32, pad_id=0, strip_id=3)

    def test_an_older_repository_names_special_tokens_in_a_second_file(self, tmp_path):
        pad = {"pad_token": {"content": "</s>"}}
        assert self.read(tmp_path, special_tokens=pad, pad_token="<unk>").pad_id == 1

    def test_a_newer_repository_names_them_in_its_settings(self, tmp_path):
        old = {"pad_token": "</s>"}
        config = self.read(tmp_path, special_tokens=old, pad_token="<unk>", added_tokens_decoder={})
        assert config.pad_id == 2

    def test_where_no_pad_token_is_named_it_is_the_usual_one(self, tmp_path):
        assert read_config({}, save(tmp_path, bert()[0], {})).pad_id == 0

    def test_padding_that_the_model_has_no_row_for_is_refused(self, tmp_path):
        tokenizer, config = t5()
        folder = save(tmp_path, tokenizer, {**config, "pad_token": "</s>"})
        assert read_config({"vocab_size": 2}, folder).pad_id == 1
        with pytest.raises(ValueError, match=r"pad_token is number 1, and text_cfg.vocab_size"):
            read_config({"vocab_size": 1}, folder)

    @pytest.mark.parametrize(
        ("shape", "changes", "reason"),
        [
            (t5, {"pad_token": None}, "has no pad_token"),
            (gpt2, {"pad_token": None}, "has no pad_token"),
            (t5, {"pad_token": "[PAD]"}, r"pad_token '\[PAD\]' is not in its vocabulary"),
            (t5, {"padding_side": "left"}, "padding_side of 'left'"),
            (gemma, {"padding_side": "left"}, "padding_side of 'left'"),
            (t5, {"truncation_side": "left"}, "truncation_side of 'left'"),
            (gemma, {"add_eos_token": False}, "disagree about add_eos_token"),
            (gemma, {"add_bos_token": True, "bos_token": "<bos>"}, "disagree about add_bos_token"),
        ],
    )
    def test_what_only_transformers_could_do_is_refused(self, tmp_path, shape, changes, reason):
        with pytest.raises(ValueError, match=reason):
            self.read(tmp_path, shape, **changes)

    def test_a_side_that_the_class_alone_names_is_refused(self, tmp_path):
        tokenizer, config = gemma()
        del config["padding_side"]
        with pytest.raises(ValueError, match="padding_side of 'left'"):
            read_config({}, save(tmp_path, tokenizer, config))

    @pytest.mark.parametrize(
        ("text_cfg", "reason"),
        [
            ({"tokenizer_kwargs": {"clean": "upper"}}, "clean must be one of"),
            ({"tokenizer_kwargs": {"language": "de"}}, "only transformers knows .* language"),
            ({"tokenizer_mode": "clips"}, "only transformers knows .* tokenizer_mode 'clips'"),
            ({"tokenizer_kwargs": {"strip_sep_token": True}}, "has no sep_token"),
            ({"context_length": 0}, "context_length must be at least 1"),
            ({"context_length": "77"}, "context_length must be at least 1"),
        ],
    )
    def test_an_impossible_wish_is_refused(self, folders, text_cfg, reason):
        with pytest.raises(ValueError, match=reason):
            read_config(text_cfg, folders[gpt2])


class TestFaultyFiles:
    @pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{}", b'{"model": 0}'])
    def test_a_file_that_is_no_tokenizer_is_refused_by_name(self, tmp_path, content):
        path = tmp_path / "tokenizer.json"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"tokenizer\.json: not a tokenizer file"):
            HubTokenizer(HubTokenizerConfig(16, 0), path)
        with pytest.raises(ValueError, match=r"tokenizer\.json: not a tokenizer file"):
            read_config({}, tmp_path)

    @pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
    def test_a_missing_file_is_an_os_error(self, tmp_path, name):
        (save(tmp_path, *t5()) / name).unlink()
        with pytest.raises(FileNotFoundError, match=name):
            read_config({}, tmp_path)

    @pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
    @pytest.mark.parametrize("content", ["", "[]", '"text"', "[" * 100_000])
    def test_faulty_settings_are_refused_by_name(self, tmp_path, name, content):
        save(tmp_path, t5()[0], {})
        (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            read_config({}, tmp_path)

    def test_a_context_that_the_tokenizers_own_tokens_do_not_fit_is_refused(self, folders):
        with pytest.raises(
            ValueError, match="adds 2 tokens to a text, too many for a context of 1"
        ):
            load(folders[bert], 1)

    def test_a_text_that_cannot_be_encoded_is_named(self, tmp_path):
        tokenizer = Tokenizer(models.WordLevel({"cat": 0}, unk_token="[UNK]"))
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        tokenize = HubTokenizer(HubTokenizerConfig(4, 0), tmp_path / "tokenizer.json")
        assert tokenize(["cat"]).ids.tolist() == [[0, 0, 0, 0]]
        with pytest.raises(ValueError, match=r"a text cannot be encoded .*'dog'"):
            tokenize(["dog"])


def test_neither_torch_nor_open_clip_nor_transformers_is_loaded(folders):
    code = """
import sys
from pathlib import Path
from clipcli.models.tokenizers.hub import HubTokenizer, read_config
assert "tokenizers" not in sys.modules
folder = Path(sys.argv[1])
HubTokenizer(read_config({}, folder), folder / "tokenizer.json")(["a cat"])
print(*sys.modules)
"""
    command = [sys.executable, "-c", code, str(folders[siglip])]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert "tokenizers" in loaded
    assert not {"torch", "open_clip", "transformers", "huggingface_hub"} & loaded
