"""A program that forks: `forking.py WAY ENGINE PHOTO` tells the parent's and the child's answer."""

from __future__ import annotations

import multiprocessing
import os
import sys
from typing import Any

LABELS = ["a cat", "a dog"]


def answer(classifier: Any, photo: str) -> str:
    """The best label; eight images, for which engines use all of their threads."""
    return str(classifier.classify([photo] * 8, LABELS)[0].best.label)


def tell(who: str, what: str) -> None:
    """Print at once: a forked process would print what is buffered once more."""
    print(who, what, flush=True)


def made_anew(engine: str, photo: str) -> None:
    """In the worker."""
    from clipcli import Classifier

    tell("child", answer(Classifier("tiny", engine=engine), photo))


def in_a_worker(method: str, target: Any, *arguments: object) -> None:
    """Run in a process of multiprocessing's, to its end."""
    worker: Any = multiprocessing.get_context(method).Process(  # type: ignore[attr-defined]
        target=target, args=arguments
    )
    worker.start()
    worker.join()
    tell("exit", str(worker.exitcode))


def told_by_child(classifier: Any, photo: str) -> None:
    """The inherited or unpickled classifier's answer."""
    tell("child", answer(classifier, photo))


def main(way: str, engine: str, photo: str) -> None:
    """Use a model, and then use one in another process."""
    if way == "clipcli in the worker alone":
        import torch

        tell("parent", f"{torch.rand(999, 999).matmul(torch.rand(999, 999)).numel()}")
        in_a_worker("fork", made_anew, engine, photo)
        return
    from clipcli import Classifier

    classifier = Classifier("tiny", engine=engine)
    tell("parent", answer(classifier, photo))
    match way:
        case "the same":
            in_a_worker("fork", told_by_child, classifier, photo)
            tell("parent", answer(classifier, photo))
        case "a new one":
            in_a_worker("fork", made_anew, engine, photo)
        case "a worker's worker":
            in_a_worker("fork", in_a_worker, "fork", told_by_child, classifier, photo)
        case "spawn":
            in_a_worker("spawn", told_by_child, classifier, photo)
        case "the usual end":  # which takes all objects apart
            child = os.fork()
            if child:
                tell("exit", str(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main(*sys.argv[1:])
