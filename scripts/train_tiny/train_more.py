"""Go on training with all data sets at 64 pixels, the learning rate falling to zero."""

from scripts.train_tiny import arguments
from scripts.train_tiny.batches import mixed, prefetched
from scripts.train_tiny.checkpoints import Checkpoint
from scripts.train_tiny.folders import DataFolder, WorkFolder
from scripts.train_tiny.phrases import Phrases
from scripts.train_tiny.pictures import Pictures
from scripts.train_tiny.runtime import Budget, prepare
from scripts.train_tiny.schedule import LearningRates, Stage
from scripts.train_tiny.training import Checks, Trainer, train
from scripts.train_tiny.vocabulary import BASE_COUNT, Vocabulary, base_classes, more_classes

SECONDS = 1380
STAGE = Stage(
    learning_rates=LearningRates(image_tower=8e-4, text_tower=3e-4, logit_scale=1e-3),
    warmup_steps=100,
    full_rate_until=0.0,
    resolutions=((1.0, 64),),
    smallest_crops=((0.85, 46), (1.0, 58)),
    average_decay=0.995,
    first_evaluation=500,
)


def main() -> None:
    """Run the script."""
    options = arguments.training(__doc__, SECONDS).parse_args()
    work = WorkFolder(options.work)
    prepare()
    # The last weights, not the averaged ones: the average begins anew from here.
    model = Checkpoint.load(work.checkpoint("images_raw")).model()
    vocabulary = Vocabulary.of(base_classes(DataFolder(options.data)) + more_classes(work))
    trainer = Trainer(model, vocabulary, Phrases.load(work), STAGE)
    base = Pictures.load(work.root, "base")
    more = Pictures.load(work.root, "more")
    more = Pictures(more.images, more.labels + BASE_COUNT)
    checks = Checks(Pictures.load(work.root, "validation", mapped=True), work, "more")
    budget = Budget(options.seconds)
    batches = mixed(base, more, lambda: STAGE.smallest_crop(budget.fraction()))
    train(trainer, prefetched(batches), budget, checks)


if __name__ == "__main__":
    main()
