"""The usual open_clip script: open_clip_script.py ARCHITECTURE CHECKPOINT IMAGE LABEL..."""

import sys

import open_clip
import torch
from PIL import Image

architecture, checkpoint, image, *labels = sys.argv[1:]
model, _, transform = open_clip.create_model_and_transforms(architecture, pretrained=checkpoint)
model.eval()
tokenizer = open_clip.get_tokenizer(architecture)
with torch.no_grad():
    image_features = model.encode_image(transform(Image.open(image)).unsqueeze(0), normalize=True)
    text_features = model.encode_text(tokenizer(labels), normalize=True)
    logits = model.logit_scale.exp() * image_features @ text_features.T
for label, probability in zip(labels, logits.softmax(dim=-1)[0].tolist(), strict=True):
    print(label, probability)
