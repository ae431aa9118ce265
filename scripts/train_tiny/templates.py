"""Prompt templates: the sentences a name is put into."""

PHRASE_TEMPLATES = (
    # Twice, so that a bare name comes up twice as often.
    "{}",
    "{}",
    "a {}",
    "the {}",
    "a photo of a {}",
    "a photo of a {}.",
    "a photo of the {}.",
    "a photo of {}",
    "a picture of a {}",
    "an image of a {}",
    "this is a {}",
    "a close-up photo of a {}.",
    "a blurry photo of a {}.",
    "a small {}",
    "a big {}",
    "a photo of a nice {}",
    "{} photo",
    "a low resolution photo of a {}.",
    "a bright photo of the {}.",
    "a drawing of a {}",
    "one {}",
    "some {}",
    "there is a {} in the picture",
    "a cropped photo of a {}.",
)
"""What the text tower is distilled under: its embedding should not depend on the template."""

PICTURE_TEMPLATES = (
    "{}",
    "a {}",
    "the {}",
    "a photo of a {}",
    "a photo of a {}.",
    "a photo of the {}.",
    "a picture of a {}",
    "an image of a {}",
    "this is a {}",
    "a close-up photo of a {}.",
    "a blurry photo of a {}.",
    "a low resolution photo of a {}.",
    "a cropped photo of a {}.",
    "a photo of a small {}.",
)
"""What the image tower is trained against: true of most pictures."""

EVALUATION_TEMPLATE = "a photo of a {}."
CONCEPT_TEMPLATE = "a photo of a {}"
