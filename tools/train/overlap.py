"""Whether texts that a model is measured on stand in its training text: shared runs of words."""
import hashlib
import re
import sys

import numpy as np

import packs

WORDS = re.compile(rb"[A-Za-z0-9\x80-\xff]+")
FACTOR = np.uint64(0x9E3779B97F4A7C15)


def runs(text, length):
    """A 64-bit hash of every run of `length` words, in lower case; what stands between words does not matter."""
    words = WORDS.findall(text.lower())
    if len(words) < length:
        return np.empty(0, np.uint64)
    known = {}
    for word in set(words):
        known[word] = int.from_bytes(hashlib.blake2b(word, digest_size=8).digest(), "little")
    of_word = np.fromiter((known[w] for w in words), np.uint64, len(words))
    out = np.zeros(len(words) - length + 1, np.uint64)
    for i in range(length):
        out = (out ^ of_word[i:i + len(out)]) * FACTOR
        out ^= out >> np.uint64(29)
    return out


def report(pack_paths, text_paths, length):
    """Yields (name, words' runs, runs that occur in the packs) for each text."""
    texts = []
    for path in text_paths:
        with open(path, "rb") as f:
            texts.append(np.unique(runs(f.read(), length)))
    wanted = np.unique(np.concatenate(texts)) if texts else np.empty(0, np.uint64)
    seen = np.zeros(len(wanted), bool)
    gathered, size = [], 0

    def look():
        nonlocal gathered, size
        if gathered and len(wanted):
            found = np.concatenate(gathered)
            at = np.searchsorted(wanted, found)
            at[at == len(wanted)] = 0
            seen[at[wanted[at] == found]] = True
        gathered, size = [], 0

    for document in packs.documents(pack_paths):
        gathered.append(runs(document, length))
        size += len(document)
        if size > 1 << 24:
            look()
    look()
    for path, own in zip(text_paths, texts):
        yield path, len(own), int(seen[np.searchsorted(wanted, own)].sum()) if len(own) else 0


def show(pack_paths, text_paths, length):
    print(f"| text | runs of {length} words | of them in the training text | |\n|---|---:|---:|---:|")
    for path, count, shared in report(pack_paths, text_paths, length):
        print(f"| {path.rsplit('/', 1)[-1]} | {count:,} | {shared:,} | {100 * shared / max(count, 1):.2f} % |")
        sys.stdout.flush()
