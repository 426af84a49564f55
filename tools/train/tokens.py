"""From packs to token ids: the vocabulary, and files of 16-bit ids that training maps into memory."""
import hashlib
import json
import os

import numpy as np

import packs

START = "<|endoftext|>"
LONGEST = 100_000  # characters given to the tokenizer at a time


def pieces(document):
    text = document.decode("utf-8", "ignore")
    return [text[i:i + LONGEST] for i in range(0, len(text), LONGEST)]


def train_vocabulary(pack_paths, size, part, out):
    """A byte-level BPE with digits one by one, from `part` of the documents; written as Hugging Face's tokenizer.json."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    def text():
        for document in packs.documents(pack_paths):
            if packs.held_out(document, part):
                yield pieces(document)[0]

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(text(), trainers.BpeTrainer(
        vocab_size=size, special_tokens=[START], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.save(out + ".new")
    os.replace(out + ".new", out)
    return tokenizer.get_vocab_size()


def encode(pack_paths, tokenizer_path, folder, held_part):
    """FOLDER/train.u16 and held.u16: the ids of all documents, the start id before each; data.json says of what."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(tokenizer_path)
    if tokenizer.get_vocab_size() > 1 << 16:
        raise SystemExit(f"{tokenizer_path}: more than 65,536 tokens; ids are kept in 16 bits")
    start = tokenizer.token_to_id(START)
    os.makedirs(folder, exist_ok=True)
    counts = {"train": 0, "held": 0}
    texts = {"train": 0, "held": 0}
    files = {name: open(os.path.join(folder, name + ".u16.new"), "wb") for name in counts}

    def flush(batch):
        encoded = iter(tokenizer.encode_batch_fast([p for _, parts in batch for p in parts]))
        for name, parts in batch:
            ids = [start] + [i for _ in parts for i in next(encoded).ids]
            files[name].write(np.array(ids, np.uint16).tobytes())
            counts[name] += len(ids)

    batch, size = [], 0
    for document in packs.documents(pack_paths):
        name = "held" if packs.held_out(document, held_part) else "train"
        texts[name] += len(document)
        batch.append((name, pieces(document)))
        size += len(document)
        if size > 8 << 20:
            flush(batch)
            batch, size = [], 0
            print(f"  {sum(texts.values()) / 1e6:.0f} MB, {sum(counts.values()) / 1e6:.1f} M tokens", flush=True)
    flush(batch)
    for name, f in files.items():
        f.close()
        os.replace(f.name, os.path.join(folder, name + ".u16"))
    with open(tokenizer_path, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    said = {"tokens": counts["train"], "held_tokens": counts["held"], "bytes": texts["train"], "held_bytes": texts["held"],
            "vocabulary": tokenizer.get_vocab_size(), "start": start, "tokenizer_sha256": digest,
            "packs": [os.path.basename(p) for p in pack_paths]}
    with open(os.path.join(folder, "data.json"), "w") as f:
        json.dump(said, f, indent=1)
    return said


class Windows:
    """Windows of `context` targets in an order that seed and number alone decide; every window is fed the start id first, as the
    product feeds them, and each epoch shifts where windows are cut."""

    def __init__(self, path, context, start, seed):
        self.ids = np.memmap(path, np.uint16, "r")
        self.context, self.start, self.seed = context, start, seed
        self.count = (len(self.ids) - context) // context
        if self.count < 1:
            raise SystemExit(f"{path}: {len(self.ids)} tokens are too few for windows of {context}")
        self.epoch, self.order = -1, None

    def window(self, number):
        """(fed, wanted) of the window `number`, counted from the start of training through all epochs."""
        epoch, at = divmod(number, self.count)
        if epoch != self.epoch:
            random = np.random.default_rng([self.seed, epoch])
            self.order, self.shift = random.permutation(self.count), int(random.integers(0, self.context))
            self.epoch = epoch
        first = int(self.order[at]) * self.context + self.shift
        wanted = self.ids[first:first + self.context].astype(np.int64)
        return np.concatenate(([self.start], wanted[:-1])), wanted

    def batch(self, first, count):
        fed, wanted = zip(*(self.window(first + i) for i in range(count)))
        return np.stack(fed), np.stack(wanted)
