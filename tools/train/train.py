#!/usr/bin/env python3
"""Trains language models for llmc-batch. tools/train/README.md tells it from the start.

    train.py pack OUT.xz FOLDER...                      texts to a pack of documents with a NUL between them
    train.py overlap --packs PACK... --texts FILE...    whether texts for measuring stand in the packs
    train.py all --recipe RECIPE.json --out DIR PACK... vocabulary, tokens, training, export; goes on where it stopped
    train.py all ... --until tokens                     only what needs no GPU
    train.py bits --model DIR/hf FILE...                bits per byte, in binary32 and as int8, in the product's windows

Needs Python 3.11, torch, numpy, tokenizers, safetensors (requirements.txt); `pack` and `overlap` need no torch.
"""
import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import packs  # noqa: E402

STEPS = ["vocabulary", "tokens", "training"]


def pack(a):
    count, size, left_out = packs.write_pack(a.out, a.inputs)
    print(f"{a.out}: {count:,} documents, {size:,} bytes; {left_out} files left out (not UTF-8, empty, or with a NUL)")


def overlap(a):
    import overlap

    overlap.show(a.packs, a.texts, a.words)


def everything(a):
    import fit
    import tokens

    recipe = fit.read_recipe(a.recipe)
    os.makedirs(a.out, exist_ok=True)
    tokenizer, data = os.path.join(a.out, "tokenizer.json"), os.path.join(a.out, "data")
    if not os.path.exists(tokenizer):
        size = tokens.train_vocabulary(a.packs, recipe["vocabulary"], recipe["vocabulary_part"], tokenizer)
        print(f"{tokenizer}: {size:,} entries", flush=True)
    if a.until == "vocabulary":
        return 0
    if not os.path.exists(os.path.join(data, "data.json")):
        said = tokens.encode(a.packs, tokenizer, data, recipe["held_part"])
        print(f"{data}: {said['tokens']:,} tokens of {said['bytes']:,} bytes, {said['held_tokens']:,} held out", flush=True)
    if a.until == "tokens":
        return 0
    # 75 is what a job that wants to be called again ends with (EX_TEMPFAIL).
    return 0 if fit.fit(a.recipe, data, tokenizer, a.out, a.device, a.minutes) else 75


def bits(a):
    import measure

    measure.show(a.model, a.files, a.limit, a.carry)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = p.add_subparsers(required=True)
    q = sub.add_parser("pack")
    q.set_defaults(call=pack)
    q.add_argument("out")
    q.add_argument("inputs", nargs="+")
    q = sub.add_parser("overlap")
    q.set_defaults(call=overlap)
    q.add_argument("--packs", nargs="+", required=True)
    q.add_argument("--texts", nargs="+", required=True)
    q.add_argument("--words", type=int, default=10, help="length of the runs that are compared")
    q = sub.add_parser("all")
    q.set_defaults(call=everything)
    q.add_argument("--recipe", required=True)
    q.add_argument("--out", required=True)
    q.add_argument("--minutes", type=float, help="another budget than the recipe's")
    q.add_argument("--device", choices=["cpu", "cuda"], help="default: a GPU where there is one")
    q.add_argument("--until", choices=STEPS, default="training")
    q.add_argument("packs", nargs="+")
    q = sub.add_parser("bits")
    q.set_defaults(call=bits)
    q.add_argument("--model", required=True)
    q.add_argument("--limit", type=int, default=150_000)
    q.add_argument("--carry", type=int, help="tokens that a window takes over; default: a quarter")
    q.add_argument("files", nargs="+")
    a = p.parse_args()
    sys.exit(a.call(a))


if __name__ == "__main__":
    main()
