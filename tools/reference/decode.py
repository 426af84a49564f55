#!/usr/bin/env python3
"""Decodes archives of llmc-batch: the reference decoder, written from its documents alone.

    python3 decode.py ARCHIVE -o FILE            the text of all files, one after the other ("-": standard output)
    python3 decode.py ARCHIVE --files DIR        the files themselves, below a folder that is new or empty
    python3 decode.py ARCHIVE --list             what is inside; needs no model

ARCHIVE is a .h5 file or the folder of a set. It needs Python 3.9 or later, numpy, and the module zstandard (or Python
3.14, or the program zstd). It is slow, a few hundred tokens a second with the smallest model, and small: FORMAT.md,
NUMERICS.md, MODEL.md and MIX.md say why each line is as it is. Every checksum and digest on the way is compared; the
first that does not fit ends the program with exit code 1.
"""
import argparse
import hashlib
import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the products are small: more threads only wait for each other

from archive import FILE, FOLDER, LINK, Archive, sha256
from chunks import Parameters, decode
from frame import Damage
from model import Model, ModelError


class TextOutput:
    """The bytes of all files, one after the other."""

    def __init__(self, path):
        self.file = sys.stdout.buffer if path == "-" else open(path, "wb")

    def write(self, piece, offset, data):
        self.file.write(data)

    def close(self):
        self.file.flush()


class TreeOutput:
    """Files, folders and links below a folder."""

    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        if os.listdir(folder):
            raise SystemExit(f"{folder}: is not empty")
        self.root = os.fsencode(folder)
        self.pieces = {}

    def write(self, piece, offset, data):
        path = os.path.join(self.root, piece.name)
        new = piece.name not in self.pieces
        self.pieces[piece.name] = piece
        if piece.kind == FOLDER:
            os.makedirs(path, exist_ok=True)
        elif piece.kind == FILE:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "xb" if new else "r+b") as file:
                file.seek(offset)
                file.write(data)

    def close(self):
        # Links last, so that no file is written through one; folders' times after all that is in them.
        links = [p for p in self.pieces.values() if p.kind == LINK]
        for piece in links:
            os.makedirs(os.path.dirname(os.path.join(self.root, piece.name)), exist_ok=True)
            os.symlink(piece.target, os.path.join(self.root, piece.name))
        for piece in sorted(self.pieces.values(), key=lambda p: p.name, reverse=True):
            path = os.path.join(self.root, piece.name)
            if piece.kind != LINK:
                os.chmod(path, piece.mode)
            os.utime(path, ns=(piece.mtime, piece.mtime), follow_symlinks=piece.kind != LINK)


def decode_shard(shard, wanted, model, parameters, output, streams):
    """Writes the wanted pieces of a shard and checks their digests. Returns the number of bytes."""
    begin, places = 0, []
    for piece in shard.index.pieces:
        if wanted(piece):
            places.append((begin, piece))
        begin += piece.size
    chunk_bytes = shard.chunk_bytes
    chunks = sorted({c for at, p in places if p.size
                     for c in range(at // chunk_bytes, (at + p.size - 1) // chunk_bytes + 1)})
    texts = zip(chunks, decode(map(shard.frame, chunks), model, parameters, streams, shard.dictionary))
    chunk, text, done = -1, b"", 0
    for at, piece in places:
        output.write(piece, piece.offset, b"")
        digest = hashlib.sha256()
        end, here = at + piece.size, at
        while here < end:
            if here >= chunk * chunk_bytes + len(text) or chunk < 0:
                chunk, text = next(texts)
            part = text[here - chunk * chunk_bytes:end - chunk * chunk_bytes]
            output.write(piece, piece.offset + here - at, part)
            digest.update(part)
            here += len(part)
        if piece.size and digest.digest() != piece.digest:
            raise Damage(f"{os.fsdecode(piece.name)}: the text does not match its SHA-256")
        done += piece.size
    return done


def find_model(archive, given):
    """The path of the model file: the one given, or one near the archive or this program; its digest is right."""
    here = os.path.dirname(os.path.abspath(__file__))
    folders = [here, archive.folder, os.path.join(archive.folder, "decoder"), os.path.join(here, "..", "..", "models")]
    paths = [given] if given else [os.path.join(folder, name) for folder in folders if os.path.isdir(folder)
                                   for name in sorted(os.listdir(folder)) if name.endswith(".safetensors")]
    digest = None
    for path in paths:
        with open(path, "rb") as file:
            digest = sha256(file.read())
        if digest == archive.model:
            return path
    wanted = f"{archive.model_name}, SHA-256 {archive.model.hex()}"
    if given:
        raise SystemExit(f"{given} is not the model of this archive: SHA-256 {digest.hex()} instead of {wanted}")
    raise SystemExit(f"the model is not here; name its file with --model: {wanted}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", metavar="ARCHIVE")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the text here")
    parser.add_argument("--files", metavar="DIR", help="write files below this folder")
    parser.add_argument("--list", action="store_true", help="list the entries")
    parser.add_argument("--model", metavar="FILE", help="the model file, where it is not beside the archive")
    parser.add_argument("--document", metavar="NAME", action="append", help="only this entry (may be repeated)")
    parser.add_argument("--shard", metavar="N", type=int, action="append", help="only this shard (may be repeated)")
    parser.add_argument("--hdf5", action="store_true", help="read through h5py instead of by offsets")
    parser.add_argument("--streams", metavar="N", type=int, default=16, help="chunks decoded in step (default 16)")
    options = parser.parse_args()
    if [bool(options.output), bool(options.files), options.list].count(True) != 1:
        parser.error("one of -o, --files and --list is needed")
    try:
        run(options)
    except (Damage, ModelError, OSError) as error:
        sys.exit(f"decode.py: {error}")


def run(options):
    archive = Archive(options.archive, options.hdf5)
    shards = range(len(archive.paths)) if options.shard is None else options.shard
    if not all(0 <= n < len(archive.paths) for n in shards):
        raise SystemExit(f"there are {len(archive.paths)} shards")
    if options.list:
        for number in shards:
            for piece in archive.shard(number).index.pieces:
                print(f"{number}\t{'fdl'[piece.kind]}\t{piece.size}\t{os.fsdecode(piece.name)}")
        return
    names = None if options.document is None else {os.fsencode(n) for n in options.document}
    whole = names is None and options.shard is None
    if whole:
        archive.check_whole()
    model, parameters, left, done = None, None, set(names or ()), 0
    output = TreeOutput(options.files) if options.files else TextOutput(options.output)
    for number in shards:
        shard = archive.shard(number)
        if model is None and any(codec > 1 for _, _, _, codec, _ in shard.index.frames):
            model, parameters = Model(find_model(archive, options.model)), Parameters(archive.parameters)
            adaptation = shard.adaptation()
            if adaptation is not None:
                model.adapt(adaptation)
        done += decode_shard(shard, lambda p: names is None or p.name in names, model, parameters, output,
                             options.streams)
        left -= {p.name for p in shard.index.pieces}
    output.close()
    if left:
        raise SystemExit(f"not in the archive: {', '.join(map(os.fsdecode, sorted(left)))}")
    print(f"{done} bytes, every checksum on the way is right" + (", the whole archive checked" if whole else ""),
          file=sys.stderr)


if __name__ == "__main__":
    main()
