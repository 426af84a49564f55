#!/usr/bin/env python3
"""Text of an archive as torch datasets.

usage: torch_dataset.py ARCHIVE [WORKERS]    counts the windows and documents of one epoch
"""

import random
import sys

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

import llmc


class DocumentDataset(Dataset):
    """Map-style: item i is the text of the i-th file, as bytes."""

    def __init__(self, path, **options):
        self.archive = llmc.open(path, **options)  # pickled to workers as path and options
        self.numbers = [d.number for d in self.archive.documents if d.kind == "file" and d.size > 0]

    def __len__(self):
        return len(self.numbers)

    def __getitem__(self, index):
        return self.archive.documents[self.numbers[index]].read()


class WindowDataset(IterableDataset):
    """Windows of `length` bytes as uint8 tensors, chunk by chunk in an order that follows from the seed and epoch.

    Decoding is what costs, and a chunk is decoded as a whole: so the chunks are shuffled, each is decoded once an epoch, and all
    of its windows are given. Workers share the chunks among them. What is left at a chunk's end is left out.
    """

    def __init__(self, path, length, seed=0, **options):
        self.archive = llmc.open(path, **options)
        self.length, self.seed, self.epoch = length, seed, 0

    def __iter__(self):
        numbers = list(range(self.archive.chunks))
        random.Random(self.seed * 1_000_003 + self.epoch).shuffle(numbers)
        worker = get_worker_info()
        if worker is not None:
            numbers = numbers[worker.id :: worker.num_workers]
        for number in numbers:
            begin, end = self.archive.chunk(number)
            chunk = bytearray(self.archive[begin:end])
            windows = torch.frombuffer(chunk, dtype=torch.uint8)
            for at in range(0, len(chunk) - self.length + 1, self.length):
                yield windows[at : at + self.length]


def main():
    path = sys.argv[1]
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    # Workers are the threads here: one each inside.
    options = {"threads": 1} if workers else {}
    windows = sum(
        len(batch) for batch in DataLoader(WindowDataset(path, 512, **options), batch_size=8, num_workers=workers)
    )
    documents = DataLoader(DocumentDataset(path, **options), batch_size=None, num_workers=workers)
    size = sum(len(text) for text in documents)
    print(f"{windows} windows of 512 bytes; {len(documents)} documents, {size} bytes")


if __name__ == "__main__":
    main()
