"""Shard files, their index, and sets of them (FORMAT.md). Nothing is believed before its checksum fits."""
import hashlib
import json
import os
import struct

from frame import Damage, Frame, crc32c, unzstd

FILE, FOLDER, LINK = range(3)


def sha256(data):
    return hashlib.sha256(data).digest()


def expect(right, what):
    if not right:
        raise Damage(what)


class Reader:
    """Integers and strings, one after the other (FORMAT.md section 1)."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        expect(n <= len(self.data) - self.at, "the index ends too soon")
        self.at += n
        return self.data[self.at - n:self.at]

    def u8(self):
        return self.take(1)[0]

    def u32(self):
        return int.from_bytes(self.take(4), "little")

    def varint(self):
        value = 0
        for shift in range(0, 70, 7):
            byte = self.u8()
            value |= (byte & 127) << shift
            if byte < 128:
                expect(value < 2**64, "a number of the index is too large")
                return value
        raise Damage("a number of the index is too long")

    def svarint(self):
        value = self.varint()
        return value >> 1 ^ -(value & 1)

    def string(self):
        return self.take(self.varint())


def put_varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def put_string(data):
    return put_varint(len(data)) + data


def features_of(parameters):
    """What coding parameters ask for (FORMAT.md section 3.1): 1 dictionaries, 4 an adaptation."""
    more = len(parameters) - 9
    return (more % 32 == 5) | (more >= 32) << 2


class Piece:
    """What an index says of one entry, or of the piece of it that stands in this shard."""

    target = source_digest = digest = b""
    entry_size = offset = size = records = packed_bytes = 0

    def content(self):
        """Its part of the content digest."""
        zigzag = (self.mtime << 1 ^ self.mtime >> 63) & (2**64 - 1)
        return b"".join([
            put_string(self.name), bytes([self.kind]), put_varint(self.mode), put_varint(zigzag),
            put_string(self.target), put_varint(self.entry_size), bytes([self.packing]), self.source_digest,
            put_varint(self.offset), put_varint(self.size), self.digest])


class Index:
    """FORMAT.md section 5."""

    def __init__(self, plain, chunks):
        r = Reader(plain)
        self.parameters, self.model_name = r.string(), r.string().decode("utf-8", "replace")
        self.shard_bytes, self.first_entry, count = r.varint(), r.varint(), r.varint()
        expect(count <= 2**20, "the index claims too many entries")
        self.pieces = pieces = [Piece() for _ in range(count)]
        for p in pieces:
            kind = r.u8()
            p.kind, p.record_kind, p.packing, p.cut = kind & 3, kind >> 2 & 7, kind >> 5 & 3, kind >> 7
            expect(p.kind <= LINK and p.record_kind <= 5 and p.packing <= 2 and (p.kind == FILE or kind <= LINK),
                   "the index has an entry of an unknown kind")
        before = None
        for p in pieces:
            shared = r.varint()
            expect(shared <= len(before or b""), "the index has a wrong name")
            p.name = (before or b"")[:shared] + r.string()
            parts = p.name.split(b"/")
            expect(len(p.name) <= 4095 and b"\0" not in p.name and not {b"", b".", b".."} & set(parts)
                   and (before is None or p.name > before), "the index has a wrong name")
            before = p.name
        for p in pieces:
            p.mode = r.varint()
            expect(p.mode <= 0o7777, "the index has a wrong mode")
        time = 0
        for p in pieces:
            time = (time + r.svarint()) % 2**64
            p.mtime = time - 2**64 if time >= 2**63 else time
        for p in pieces:
            if p.kind == FILE:
                p.entry_size = p.size = r.varint()
        for p in pieces:
            if p.cut:
                p.offset, p.size = r.varint(), r.varint()
                expect(0 < p.size < p.entry_size and p.offset + p.size <= p.entry_size, "the index has a wrong piece")
        for p in pieces:
            if p.kind == LINK:
                p.target = r.string()
        for p in pieces:
            if p.record_kind:
                p.records, p.packed_bytes = r.varint(), r.varint()
                if p.cut:
                    p.first_record, p.records_base = r.varint(), r.varint()
        for p in pieces:
            r.take(p.packed_bytes)  # where documents inside the file begin and end; not needed here
        gaps = [r.varint() for _ in range(chunks)]
        sizes = [r.varint() for _ in range(chunks)]
        tokens = [r.varint() for _ in range(chunks)]
        codecs = r.take(chunks)
        crcs = [r.u32() for _ in range(chunks)]
        self.frames, end = [], 0
        for row in zip(gaps, sizes, tokens, codecs, crcs):
            self.frames.append((end + row[0], *row[1:]))
            end += row[0] + row[1]
        for p in pieces:
            if p.packing:
                p.source_digest = r.take(32)
        for p in pieces:
            if p.size:
                p.digest = r.take(32)
        expect(r.at == len(plain), "the index goes on after its end")


class Shard:
    """One file of frames (FORMAT.md section 4)."""

    def __init__(self, path, hdf5=False):
        self.path, self.file = path, open(path, "rb")
        self.length = os.fstat(self.file.fileno()).st_size
        self.block = block = self.read(0, 512)
        expect(block[:8] == b"\x89LLMC\r\n\x1a", f"{path}: not a shard file")
        expect(struct.unpack_from("<I", block, 508)[0] == crc32c(block[:508]), f"{path}: the user block is damaged")
        version, zero, features = struct.unpack_from("<HHI", block, 8)
        if version != 1 or features & ~5:
            raise Damage(f"{path}: format {version} with features {features}; "
                         "this decoder reads format 1 with features 1 and 4")
        (self.number, self.shards, length, self.text_bytes, self.text_offset, self.chunk_bytes, self.chunks, self.seed,
         zero_too, index_at, index_bytes, plain_bytes) = struct.unpack_from("<IIQQQIIIIQQQ", block, 16)
        self.model, self.plan, index_digest, self.body = (block[i:i + 32] for i in range(88, 216, 32))
        expect(length == self.length, f"{path}: {self.length} bytes instead of {length}")
        self.dictionary_at, self.dictionary_bytes, self.dictionary_text = struct.unpack_from("<QII", block, 216)
        self.dictionary_digest = block[232:264]
        expect(not any(block[216:264]) or features & 1 and self.chunk_bytes <= 2**20 and self.dictionary_at >= 512
               and self.dictionary_at + self.dictionary_bytes <= length, f"{path}: the user block contradicts itself")
        self.adaptation_at, self.adaptation_bytes = struct.unpack_from("<QI", block, 264)
        expect((self.adaptation_bytes > 0) == (features >= 4) and self.adaptation_at + self.adaptation_bytes <= length,
               f"{path}: the user block contradicts itself")
        expect(not (zero or zero_too or any(block[276:508])) and self.number < self.shards <= 10**6
               and 1 <= self.chunk_bytes <= 2**30 and self.chunks == -(-self.text_bytes // self.chunk_bytes)
               and index_at + index_bytes <= length and plain_bytes <= 2**30,
               f"{path}: the user block contradicts itself")
        self.hdf5 = None
        if hdf5:
            import h5py

            self.hdf5 = h5py.File(path, "r")
        packed = self.hdf5["index"][:].tobytes() if hdf5 else self.read(index_at, index_bytes)
        expect(sha256(packed) == index_digest, f"{path}: the index is damaged")
        self.index = Index(unzstd(packed, plain_bytes), self.chunks)
        expect(features == features_of(self.index.parameters), f"{path}: the coding parameters are wrong")
        expect(sum(p.size for p in self.index.pieces) == self.text_bytes, f"{path}: the sizes in the index are wrong")

    def read(self, at, size):
        self.file.seek(at)
        data = self.file.read(size)
        expect(len(data) == size, f"{self.path}: cut off")
        return data

    def check_body(self):
        """The digest of all bytes behind the user block."""
        self.file.seek(512)
        digest = hashlib.sha256()
        while data := self.file.read(2**20):
            digest.update(data)
        expect(digest.digest() == self.body, f"{self.path}: the file is damaged (SHA-256)")

    def frame(self, chunk):
        at, size, tokens, codec, crc = self.index.frames[chunk]
        if self.hdf5:
            mask, data = self.hdf5["text"].id.read_direct_chunk((chunk * self.chunk_bytes,))
            expect(mask == 0 and len(data) == size, f"{self.path}: HDF5 has another frame of chunk {chunk}")
        else:
            data = self.read(at, size)
        try:
            frame = Frame(data, self.seed)
        except Damage as damage:
            raise Damage(f"{self.path}: chunk {chunk}: {damage}") from None
        text = min(self.chunk_bytes, self.text_bytes - chunk * self.chunk_bytes)
        expect((frame.chunk, frame.size, frame.tokens, frame.text_crc, data[5]) == (chunk, text, tokens, crc, codec),
               f"{self.path}: chunk {chunk} is not the one that the index speaks of")
        return frame

    def adaptation(self):
        """What the model is adapted with (MODEL.md section 6), or None."""
        if not self.adaptation_bytes:
            return None
        data = self.hdf5["adaptation"][:].tobytes() if self.hdf5 else self.read(self.adaptation_at, self.adaptation_bytes)
        expect(sha256(data) == self.index.parameters[-32:], f"{self.path}: the adaptation is damaged")
        return data

    def dictionary(self):
        """The frame of the shard's dictionary."""
        expect(self.dictionary_bytes, f"{self.path}: chunks begin with a dictionary, and there is none")
        if self.hdf5:
            data = self.hdf5["dictionary"][:].tobytes()
        else:
            data = self.read(self.dictionary_at, self.dictionary_bytes)
        expect(sha256(data) == self.dictionary_digest, f"{self.path}: the dictionary is damaged")
        frame = Frame(data, self.seed)
        expect(frame.codec == "dictionary" and frame.size == self.dictionary_text,
               f"{self.path}: the dictionary is not the one that the user block speaks of")
        return frame


class Archive:
    """A single file, or a folder with a manifest (FORMAT.md section 6)."""

    def __init__(self, path, hdf5=False):
        self.path, self.hdf5, self.manifest = path, hdf5, None
        self.folder = path if os.path.isdir(path) else os.path.dirname(path) or "."
        if os.path.isdir(path):
            self.manifest = self.read_manifest(os.path.join(path, "manifest.json"))
            self.paths = [os.path.join(path, row["file"]) for row in self.manifest["shards"]]
        else:
            self.paths = [path]
        first = self.shard(0)
        self.model, self.model_name, self.parameters = first.model, first.index.model_name, first.index.parameters

    @staticmethod
    def read_manifest(path):
        with open(path, "rb") as file:
            data = file.read()
        tail = b'  "sha256": "' + hashlib.sha256(data[:-81]).hexdigest().encode() + b'"\n}\n'
        expect(data[-81:] == tail, f"{path}: the manifest was changed or is damaged")
        manifest = json.loads(data)
        expect(manifest["format"] == "llmc-batch set", f"{path}: not the manifest of a set")
        if manifest["version"] != 1 or manifest["features"] > 7:
            raise Damage(f"{path}: format {manifest['version']} with features {manifest['features']}; "
                         "this decoder reads format 1 with features 1, 2 and 4")
        for number, row in enumerate(manifest["shards"]):
            expect(row["file"] == f"shard-{number:06}.h5", f"{path}: shard {number} has a wrong name")
        if not manifest["features"] & 2:
            manifest["parts"] = [{"plan": manifest["plan"], "content": manifest["content"], "shards": len(manifest["shards"])}]
        rows = iter(manifest["shards"])
        for part in manifest["parts"]:
            # Each part numbers its shards and their text from 0.
            offset = 0
            for number in range(part["shards"]):
                row = next(rows, None)
                expect(row is not None, f"{path}: the parts do not fit the shards")
                row.update(plan=part["plan"], number=number, text_offset=offset)
                offset += row["text_bytes"]
        expect(next(rows, None) is None, f"{path}: the parts do not fit the shards")
        return manifest

    def shard(self, number):
        shard = Shard(self.paths[number], self.hdf5)
        if self.manifest:
            m, row = self.manifest, self.manifest["shards"][number]
            expect(hashlib.sha256(shard.block).hexdigest() == row["user_block"] and shard.number == row["number"]
                   and shard.plan.hex() == row["plan"] and shard.model.hex() == m["model"]["sha256"]
                   and shard.index.parameters.hex() == m["parameters"] and shard.chunk_bytes == m["chunk_bytes"]
                   and (shard.length, shard.text_bytes, len(shard.index.pieces), shard.chunks)
                   == (row["bytes"], row["text_bytes"], row["entries"], row["chunks"])
                   and shard.text_offset == row["text_offset"],
                   f"{shard.path}: not the shard that the manifest speaks of")
        return shard

    def check_whole(self):
        """Digests of whole files, and of what they hold."""
        contents, content = [], None
        for number, path in enumerate(self.paths):
            shard = self.shard(number)
            shard.check_body()
            if self.manifest:
                row = self.manifest["shards"][number]
                # The body's digest fits and the user block's did: so does the file's, but let it be seen.
                with open(path, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else \
                        hashlib.sha256(file.read()).hexdigest()
                expect(digest == row["sha256"], f"{path}: the file is damaged (SHA-256)")
            if content is None or self.manifest and row["number"] == 0:
                content = hashlib.sha256(b"llmc-batch content 1\n")
                contents.append(content)
            for piece in shard.index.pieces:
                content.update(piece.content())
        contents = [c.digest() for c in contents]
        whole = contents[0] if len(contents) == 1 else hashlib.sha256(b"llmc-batch parts 1\n" + b"".join(contents)).digest()
        if self.manifest:
            expect([c.hex() for c in contents] == [p["content"] for p in self.manifest["parts"]]
                   and whole.hex() == self.manifest["content"], f"{self.path}: the content digest is wrong")
        return whole
