"""A random ViT-B/32 as transformers keeps it, with CLIP's tokenizer: FOLDER."""

import sys
from pathlib import Path

import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    PreTrainedTokenizerFast,
)

from clipcli.models.tokenizers.clip import write_tokenizer_file

folder = Path(sys.argv[1])
if not (folder / "model.safetensors").is_file():
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    CLIPModel(CLIPConfig()).save_pretrained(folder)
    write_tokenizer_file(folder / "tokenizer.json")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        model_max_length=77,
        pad_token="<end_of_text>",
        bos_token="<start_of_text>",
        eos_token="<end_of_text>",
    )
    CLIPProcessor(CLIPImageProcessor(), tokenizer).save_pretrained(folder)
