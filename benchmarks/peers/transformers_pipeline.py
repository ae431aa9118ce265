"""The transformers pipeline: transformers_pipeline.py FOLDER IMAGE LABEL..."""

import sys

from transformers import pipeline

folder, image, *labels = sys.argv[1:]
classifier = pipeline("zero-shot-image-classification", model=folder)
print(classifier(image, candidate_labels=labels, hypothesis_template="{}"))
