"""Train the image tower on Tiny ImageNet and CIFAR-10, at 32, then 48, then 64 pixels."""

from scripts.train_tiny import arguments
from scripts.train_tiny.batches import epochs, prefetched
from scripts.train_tiny.checkpoints import Checkpoint
from scripts.train_tiny.folders import DataFolder, WorkFolder
from scripts.train_tiny.phrases import Phrases
from scripts.train_tiny.pictures import Pictures
from scripts.train_tiny.runtime import Budget, prepare
from scripts.train_tiny.schedule import LearningRates, Stage
from scripts.train_tiny.training import Checks, Trainer, train
from scripts.train_tiny.vocabulary import Vocabulary, base_classes

SECONDS = 4400
STAGE = Stage(
    learning_rates=LearningRates(image_tower=2.5e-3, text_tower=5e-4, logit_scale=1e-3),
    warmup_steps=300,
    full_rate_until=0.1,
    resolutions=((0.35, 32), (0.6, 48), (1.0, 64)),
    smallest_crops=((0.93, 44), (1.0, 56)),
    average_decay=0.998,
    first_evaluation=600,
)


def main() -> None:
    """Run the script."""
    options = arguments.training(__doc__, SECONDS).parse_args()
    work = WorkFolder(options.work)
    prepare()
    model = Checkpoint.load(work.checkpoint("text")).model()
    vocabulary = Vocabulary.of(base_classes(DataFolder(options.data)))
    trainer = Trainer(model, vocabulary, Phrases.load(work), STAGE)
    pictures = Pictures.load(work.root, "base")
    checks = Checks(Pictures.load(work.root, "validation", mapped=True), work, "images")
    budget = Budget(options.seconds)
    batches = epochs(pictures, lambda: STAGE.smallest_crop(budget.fraction()))
    train(trainer, prefetched(batches), budget, checks)


if __name__ == "__main__":
    main()
