"""Every random stream of a run by name, so that no two jobs draw the same numbers by chance.

A stream depends on the seed, its number and a place within it (a step, an epoch, a class), and on nothing else: what is
resumed draws what an uninterrupted run would have drawn. numpy pads the entropy with zeros, so a stream without a place
is the stream at place 0; the length of the place never tells two streams apart, only the number does.
"""

from __future__ import annotations

import numpy as np

STREAMS = {
    "train.split": 0,
    "train.interleave": 1,
    "train.subnets": 1,
    "train.order": 2,
    "train.torch": 2,
    "train.augment": 3,
    "train.pool": 3,
    "train.mix": 4,
    "train.watched": 7,
    "train.quantize": 8,
    "search.evolution": 0,
    "search.random": 3,
    "search.batch": 4,
    "search.first": 5,
    "search.biased": 7,
    "search.folds": 11,
    "profile.fit": 0,
    "profile.check": 1,
    "profile.pairs": 2,
}
"""Number of every stream. A number is never changed, or runs would not repeat; a new stream takes a new number.

The first word is the command whose ``--seed`` it is. Three pairs of ``train`` share a number from before this table;
they draw different things (a permutation, choices of subnets, seeds of torch). ``search.folds`` is drawn by
:func:`predictors.accuracy.ensembles.folds`, which lies below this package.
"""


def sequence(seed: int, name: str, *place: int) -> np.random.SeedSequence:
    """The entropy of a stream at a ``place``, such as the step, for generators other than numpy's."""
    return np.random.SeedSequence([seed, STREAMS[name], *place])


def stream(seed: int, name: str, *place: int) -> np.random.Generator:
    """A generator of a stream; arguments as in :func:`sequence`."""
    return np.random.default_rng(sequence(seed, name, *place))
