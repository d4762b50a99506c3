"""The order of rows: which ones a step sees, and which of them share a forward pass."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch


class StepOrder(torch.utils.data.Sampler[int]):
    """Rows in random order, those of one step sorted by length.

    A step's rows are a plain random draw; only their order within the step follows their lengths, so that a forward
    pass pads little and yet no step sees rows of one length only. The order depends on seed and epoch alone: not on
    the micro batch, the number of processes or the state of a random generator, so that a training that goes on from a
    checkpoint sees exactly the rows that it would have seen.
    """

    def __init__(self, lengths: Sequence[int], global_batch: int, seed: int) -> None:
        self.lengths = np.asarray(lengths)
        self.global_batch = global_batch
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.lengths))
        for start in range(0, len(order), self.global_batch):
            step = order[start : start + self.global_batch]
            yield from step[np.argsort(-self.lengths[step], kind="stable")].tolist()

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch
