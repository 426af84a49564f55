#!/usr/bin/env python3
"""Compare our tokenizer with the Python library `tokenizers`, or write golden ids from it.

    python tools/tokens/reference.py compare PROGRAM TOKENIZER... --texts DIR [--strings 10000] [--seed 1]
    python tools/tokens/reference.py golden TOKENIZER OUT [--pattern gpt4|qwen]

TOKENIZER is a tokenizer.json; a SentencePiece *.model (compared with the library sentencepiece) or a *.tiktoken
(with tiktoken and GPT-4's pattern), which are left out, and said to be, where the library is missing.

PROGRAM is the built tools/tokens/tokenize. Compared are every file of DIR, every Unicode code point in several
surroundings, megabyte runs and generated hostile strings; also with variants of the first tokenizer (without Digits,
with ignore_merges, with the patterns of GPT-4 and Qwen). Exit status 0: equal; 1: not; 77: the library is missing.

The reference is used with two changes. Its added tokens are taken out, because we never produce them from text.
Where it is not defined (text that is not UTF-8, bytes without a token) it is asked in parts: an invalid byte goes
through its pre-tokenizer as a private-use character, which is of the class that the byte has with us; and the
parts of a piece between bytes without a token go through its BPE model one by one. sentencepiece and tiktoken are
asked about UTF-8 only, sentencepiece not about U+2581, which it takes for a space, and not where it would add a
space at the start. NFC is left out, as we leave it out.
"""
import argparse
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

VERSION = "0.23.3"


def byte_alphabet():
    """GPT-2's character for each byte."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in own]
    return {**{b: chr(b) for b in own}, **{b: chr(0x100 + i) for i, b in enumerate(others)}}


GPT4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+")
PATTERNS = {"gpt4": GPT4, "qwen": GPT4.replace(r"\p{N}{1,3}", r"\p{N}")}


def with_pattern(description, name):
    """The tokenizer.json with another pre-tokenizer."""
    split = {"type": "Split", "pattern": {"Regex": PATTERNS[name]}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {**description, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]}}


def utf8(data):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


class SentencePieceReference:
    def __init__(self, path):
        import sentencepiece

        self.processor = sentencepiece.SentencePieceProcessor(model_file=path)
        if self.processor.encode("a", out_type=str)[0].startswith("\u2581"):
            sys.exit(f"{path} adds a space at the start of texts, which we do not")

    def ids(self, data):
        text = utf8(data)
        return None if text is None or "\u2581" in text else self.processor.encode(text)


class TiktokenReference:
    def __init__(self, path):
        import base64
        import tiktoken

        with open(path, "rb") as f:
            ranks = {base64.b64decode(t): int(r) for t, r in (line.split() for line in f if line.strip())}
        self.encoding = tiktoken.Encoding("test", pat_str=GPT4, mergeable_ranks=ranks, special_tokens={})

    def ids(self, data):
        text = utf8(data)
        # its regex engine overflows the stack on a megabyte without a break
        return None if text is None or len(data) > 500_000 else self.encoding.encode_ordinary(text)


def reference_of(path):
    kind = {".model": SentencePieceReference, ".tiktoken": TiktokenReference}.get(os.path.splitext(path)[1], Reference)
    return kind(path)


class Reference:
    def __init__(self, path):
        from tokenizers import Tokenizer

        with open(path, encoding="utf-8") as f:
            description = json.load(f)
        if (description["normalizer"] or {}).get("type") == "NFC":
            description["normalizer"] = None
        self.vocab = 1 + max([*description["model"]["vocab"].values(), *(a["id"] for a in description["added_tokens"])])
        description["added_tokens"] = []
        description["post_processor"] = None
        self.tokenizer = Tokenizer.from_str(json.dumps(description))
        alphabet = byte_alphabet()
        self.letter = [alphabet[b] for b in range(256)]
        self.missing = bytes(b for b in range(256) if alphabet[b] not in description["model"]["vocab"])

    def ids(self, data):
        text = data.decode("utf-8", "surrogateescape")
        if not any(b in self.missing for b in data):
            try:
                return self.tokenizer.encode(data.decode("utf-8"), add_special_tokens=False).ids
            except UnicodeDecodeError:
                pass
        # U+DC80 .. U+DCFF stand for invalid bytes
        stand_in = "".join(chr(ord(c) - 0xDC00 + 0x10FF00) if 0xDC80 <= ord(c) <= 0xDCFF else c for c in text)
        out = []
        for _, (start, end) in self.tokenizer.pre_tokenizer.pre_tokenize_str(stand_in):
            run = []
            for byte in text[start:end].encode("utf-8", "surrogateescape"):
                if byte in self.missing:
                    out += self.merged(run) + [self.vocab + byte]
                    run = []
                else:
                    run.append(byte)
            out += self.merged(run)
        return out

    def merged(self, run):
        return [t.id for t in self.tokenizer.model.tokenize("".join(self.letter[b] for b in run))] if run else []


PARTS = """a b e t A Z th the ing don't I'll we've they're he'd I'm it's 'S 'LL 'Re ' '' 's 't 'r 're 'v 've 'm 'l
'll 'd 'x
0 1 9 12 1234567890 3.14 1,000 x86 2nd . , ; ! ? ... !!! -- --- _ __ # ## // /* */ <!-- &amp; {{ }} [[ ]] \\ \\n "
`` ~ @ $ %
<|endoftext|> <|im_start|> <|im_end|> <s> </s> <|end of text|> <| |> <unk> [MASK] ##
\u00e9 \u00df \u00f1 \u0130 \u0131 e\u0301 a\u0308\u0323 \u0915\u094d\u0937 \u0e33 \u1ec7 \u4e2d\u6587
\u65e5\u672c\u8a9e \ud55c\uad6d \uac00
\u0660 \u0967 \uff11 \u2160 \u2167 \u00bd \u00b2 \u3007 \u4e00 \u2460 \U0001d7d8 \U00011de3 \U00016ff5 \U0001f100
\U00010d44 \u0bf0
\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2764\ufe0f \u2019s \u02bcs \uff07s
\u200b \u200c \u200d \u2060 \ufeff \u180e \u00ad \ufffd \ufffe \uffff \U0010ffff \ue000 \U000e0041 \u0300 \u20dd
\u0345 \u1c89 \ua7cb
\U00011db0 \U000323b0 \U0001e5d0 \u0378 \x00 \x01 \x04 \x06 \x13 \x14 \x16 \x1b[0m \x1d \x1c \x1e \x1f \x7f \x80
\x9f""".replace("\n", " ").split(" ")  # not split(): it takes U+001C .. U+001F for spaces
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\r", "\n\n", "\x0b", "\x0c", "\x85", "\xa0", "\u1680", "\u2003",
          "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", " \n", "\n ", "        "]
INVALID = [b"\x80", b"\xbf", b"\xc0\xaf", b"\xc1", b"\xc3", b"\xe2\x82", b"\xe0\x80\x80", b"\xed\xa0\x80",
           b"\xed\xbf\xbf", b"\xf0\x9f\x98", b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xf5", b"\xf8\x88\x80\x80\x80",
           b"\xfe", b"\xff"]


def hostile_strings(count, seed):
    """Byte strings; about a third of them not UTF-8."""
    r = random.Random(seed)
    yield b""
    for _ in range(count - 1):
        kind = r.randrange(8)
        if kind == 0:
            yield bytes(r.randrange(256) for _ in range(r.randrange(1, 40)))
            continue
        if kind == 1:
            points = (r.randrange(r.choice([0x80, 0x3000, 0x110000])) for _ in range(r.randrange(1, 40)))
            yield "".join(chr(p) for p in points if not 0xD800 <= p < 0xE000).encode()
            continue
        parts = []
        for _ in range(r.randrange(1, 16)):
            which = r.random()
            part = (r.choice(PARTS) if which < 0.6 else r.choice(SPACES)).encode()
            if which > 0.97:
                part = part * r.randrange(2, 200)
            parts.append(part)
            if kind == 2 and r.random() < 0.3:
                parts.append(r.choice(INVALID))
        text = b"".join(parts)
        if kind == 3:  # cut inside characters
            text = text[r.randrange(len(text)):][:r.randrange(1, len(text) + 1)]
        yield text


def code_points():
    """Each code point; those that could be assigned to letters, numbers or spaces in more surroundings."""
    lines = []
    for point in range(0x110000):
        if 0xD800 <= point < 0xE000:
            continue
        c = chr(point)
        lines.append(f"a{c}b1{c}2!{c}. {c}  {c}{c} '{c}\n" if point < 0x34000 else f"a{c} ")
        if len(lines) == 256:
            yield "".join(lines).encode()
            lines = []
    yield "".join(lines).encode()


def long_runs():
    r = random.Random(3)
    for name, unit in (("a", "a"), ("space", " "), ("ab", "ab"), ("newline", "\n"), ("e acute", "\u00e9"),
                       ("dash", "-"), ("han", "\u4e2d"), ("NUL", "\0"), ("1", "1")):
        yield f"1 MB of {name}", (unit * (1 << 20)).encode()[:1 << 20]
    yield "1 MB of random letters", bytes(r.choice(b"etaoinshrdlu") for _ in range(1 << 20))


def variants(path, directory):
    """The same vocabulary without Digits; and with ignore_merges, a third of the merges gone so that it shows."""
    with open(path, encoding="utf-8") as f:
        plain = json.load(f)
    if plain["pre_tokenizer"]["type"] == "Sequence":
        plain["pre_tokenizer"] = plain["pre_tokenizer"]["pretokenizers"][-1]
    ignoring = json.loads(json.dumps(plain))
    ignoring["model"]["ignore_merges"] = True
    ignoring["model"]["merges"] = ignoring["model"]["merges"][:len(ignoring["model"]["merges"]) * 2 // 3]
    for name, description in (("plain.json", plain), ("ignore_merges.json", ignoring),
                              ("gpt4.json", with_pattern(plain, "gpt4")), ("qwen.json", with_pattern(plain, "qwen"))):
        path = os.path.join(directory, name)
        with open(path, "w") as f:
            json.dump(description, f)
        yield path


def files(directory):
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if os.path.isfile(path):
            with open(path, "rb") as f:
                yield name, f.read()


def ours(program, tokenizer, texts):
    stdin = b"".join(struct.pack("<I", len(t)) + t for t in texts)
    done = subprocess.run([program, tokenizer], input=stdin, stdout=subprocess.PIPE, check=True).stdout
    at = 0
    for _ in texts:
        (count,) = struct.unpack_from("<I", done, at)
        yield list(struct.unpack_from(f"<{count}i", done, at + 4))
        at += 4 + 4 * count


def compare(arguments):
    sets = {
        "files": list(files(arguments.texts)),
        "long runs": list(long_runs()),
        "code points": [(f"code points, text {i}", t) for i, t in enumerate(code_points())],
        "hostile strings": [(f"hostile string {i} of seed {arguments.seed}", t)
                            for i, t in enumerate(hostile_strings(arguments.strings, arguments.seed))],
    }
    if not sets["files"]:
        sys.exit(f"{arguments.texts} has no files")
    wrong = 0
    with tempfile.TemporaryDirectory() as directory:
        for path in arguments.tokenizers:
            wrong += compare_one(arguments.program, path, sets)
        plain, ignoring, *patterns = variants(arguments.tokenizers[0], directory)
        wrong += compare_one(arguments.program, plain, {k: sets[k] for k in ("code points", "hostile strings")})
        wrong += compare_one(arguments.program, ignoring, {k: sets[k] for k in ("long runs", "hostile strings")})
        for pattern in patterns:
            wrong += compare_one(arguments.program, pattern, sets)
    sys.exit(f"{wrong} texts differ" if wrong else 0)


def compare_one(program, path, sets):
    wrong = 0
    try:
        reference = reference_of(path)
    except ImportError as missing:
        print(f"{path}: not run: {missing}")
        return 0
    for kind, named in sets.items():
        total = 0
        for (name, text), got in zip(named, ours(program, path, [t for _, t in named])):
            want = reference.ids(text)
            if want is None:  # asked of us alone: it came back
                continue
            total += len(want)
            if got != want:
                wrong += 1
                at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
                print(f"{path}: {name}: differs from token {at} on: {got[at:at + 8]}, expected {want[at:at + 8]}")
        print(f"{path}: {len(named)} {kind}, {total} tokens", flush=True)
    return wrong


def golden(arguments):
    path = arguments.tokenizer
    with tempfile.TemporaryDirectory() as directory:
        if arguments.pattern:
            with open(path, encoding="utf-8") as f:
                description = with_pattern(json.load(f), arguments.pattern)
            path = os.path.join(directory, "tokenizer.json")
            with open(path, "w") as f:
                json.dump(description, f)
        reference = reference_of(path)
    with open(arguments.out, "w") as f:
        f.write("# text in hexadecimal, then its ids; by tools/tokens/reference.py golden, "
                f"{type(reference).__name__}, tokenizers {VERSION}\n")
        for text in hostile_strings(400, 7):
            ids = reference.ids(text)
            if ids is not None:
                f.write(" ".join([text.hex() or "-", *map(str, ids)]) + "\n")


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("compare")
    one.add_argument("program")
    one.add_argument("tokenizers", nargs="+")
    one.add_argument("--texts", required=True)
    one.add_argument("--strings", type=int, default=10000)
    one.add_argument("--seed", type=int, default=1)
    one = commands.add_parser("golden")
    one.add_argument("tokenizer")
    one.add_argument("out")
    one.add_argument("--pattern", choices=sorted(PATTERNS))
    arguments = parser.parse_args()
    try:
        import tokenizers
    except ImportError:
        print("not run: Python has no module tokenizers")
        sys.exit(77)
    if tokenizers.__version__ != VERSION:
        print(f"not run: tokenizers {tokenizers.__version__} is installed, the reference is {VERSION}")
        sys.exit(77)
    compare(arguments) if arguments.command == "compare" else golden(arguments)


if __name__ == "__main__":
    main()
