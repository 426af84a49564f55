"""Packs: files of UTF-8 documents with one NUL byte between them, plain or packed by xz or gzip."""
import gzip
import hashlib
import lzma
import os

BLOCK = 1 << 20


def open_pack(path):
    with open(path, "rb") as f:
        magic = f.read(6)
    if magic.startswith(b"\xfd7zXZ"):
        return lzma.open(path)
    return gzip.open(path) if magic.startswith(b"\x1f\x8b") else open(path, "rb")


def documents(paths):
    """All documents as bytes, one after the other; memory holds one and a block."""
    for path in paths:
        rest = b""
        with open_pack(path) as pack:
            while block := pack.read(BLOCK):
                *whole, rest = (rest + block).split(b"\0")
                yield from filter(None, whole)
        if rest:
            yield rest


def held_out(document, part):
    """Whether a document is kept out of training: decided by its own bytes, so the same in every order and pack."""
    return int.from_bytes(hashlib.sha256(document).digest()[:4], "big") < part * 2**32


def write_pack(out, inputs):
    """A pack of all files in `inputs` (files and folders), in byte order of their paths. Returns (documents, bytes, left out)."""
    paths = []
    for path in inputs:
        paths += [os.path.join(at, n) for at, _, names in os.walk(path) for n in names] if os.path.isdir(path) else [path]
    count = size = left_out = 0
    opened = lzma.open(out + ".new", "wb", preset=6) if out.endswith(".xz") else open(out + ".new", "wb")
    with opened as pack:
        for path in sorted(paths):
            with open(path, "rb") as f:
                text = f.read()
            try:
                text.decode("utf-8")
            except UnicodeDecodeError:
                left_out += 1
                continue
            if not text or b"\0" in text:
                left_out += 1
                continue
            pack.write((b"\0" if count else b"") + text)
            count, size = count + 1, size + len(text)
    os.replace(out + ".new", out)
    return count, size, left_out
