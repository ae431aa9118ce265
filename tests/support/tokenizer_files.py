"""Tokenizers as repositories of the model hub hold them."""

import json

from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from clipcli.assets import preset

CORPUS = [f"a photo of a {name.lower()}." for name in preset("labels", "imagenet")]


def special(*tokens):
    return {"special_tokens": list(tokens), "show_progress": False, "vocab_size": 600}


def closed_by(token, number):
    return processors.TemplateProcessing(single=f"$A {token}", special_tokens=[(token, number)])


def t5():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    trainer = trainers.UnigramTrainer(unk_token="<unk>", **special("<pad>", "</s>", "<unk>"))
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = closed_by("</s>", 1)
    return tokenizer, {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "eos_token": "</s>"}


def siglip():
    tokenizer, config = t5()
    return tokenizer, {**config, "pad_token": "</s>"}


def save(folder, tokenizer, config, special_tokens=None):
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    if special_tokens is not None:
        content = json.dumps(special_tokens)
        (folder / "special_tokens_map.json").write_text(content, encoding="utf-8")
    return folder
