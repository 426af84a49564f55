"""Archives, documents and records."""

import collections.abc
import ctypes
import io
import os
import zlib
from typing import Iterator, NamedTuple, Optional, Tuple, Union

from ._library import Counts, DamagedError, DocumentRow, Error, Facts, Handle, Patience, RecordRow, check, lib

CODECS = ("stored", "zstd", "range", "mix", "rank")
KINDS = ("file", "folder", "link")
RECORD_KINDS = (None, "lines", "jsonl", "tar", "zip", "warc")
MOST_MEMBER_BYTES = 1 << 30  # of a zip member that is unpacked in memory


class Counters(NamedTuple):
    """What was done for an archive since it was opened."""

    bytes_read: int  # of coded frames
    chunks_decoded: int
    tokens_decoded: int
    cache_hits: int  # chunks that were still there, decoded


def open(path, *, model=None, threads: int = 0, cache_bytes: int = 64 << 20) -> "Archive":
    """Opens a set's folder, one .h5 file, or one shard of a set.

    model: path of the model file; by default the built-in model, the copy inside the set, or one in the files and folders of
    LLMC_MODEL_PATH, whichever the archive was made with. threads: of one read, at most; 0: the cores of this process.
    cache_bytes: decoded text that is kept for later reads.
    """
    return Archive(path, model=model, threads=threads, cache_bytes=cache_bytes)


class _Text:
    """Something with a length, whose bytes are had by slices."""

    def _read(self, begin: int, end: int) -> bytes:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, where):
        if isinstance(where, slice):
            begin, end, step = where.indices(len(self))
            if step != 1:
                raise ValueError("text is had in slices of step 1")
            return self._read(begin, max(begin, end))
        at = where.__index__()
        if not -len(self) <= at < len(self):
            raise IndexError(f"byte {at} of {len(self)}")
        at %= len(self)
        return self._read(at, at + 1)[0]

    def open(self) -> io.BufferedReader:
        """As a binary file, to be read bit by bit: for text that is not to be in memory as a whole."""
        return io.BufferedReader(_Stream(self), 1 << 20)


class _Stream(io.RawIOBase):
    def __init__(self, text):
        self._text, self._at = text, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=os.SEEK_SET):
        at = offset + (0, self._at, len(self._text))[whence]
        if at < 0:
            raise ValueError("seek before the begin")
        self._at = at
        return at

    def tell(self):
        return self._at

    def readinto(self, buffer):
        data = self._text[self._at : self._at + len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class Archive(_Text):
    """The text of an archive, and its documents. Any thread may use it, several at once."""

    def __init__(self, path, *, model=None, threads: int = 0, cache_bytes: int = 64 << 20):
        if not 0 <= threads <= 1024 or cache_bytes < 0:
            raise ValueError("threads is 0 to 1024, cache_bytes not negative")
        self.path = os.fspath(path)
        self._options = {
            "model": None if model is None else os.fspath(model),
            "threads": threads,
            "cache_bytes": cache_bytes,
        }
        self._open = Handle(os.fsencode(path), None if model is None else os.fsencode(model), threads, cache_bytes)
        facts = Facts()
        lib.llmc_get_facts(self._open.pointer, ctypes.byref(facts))
        self._size = facts.text_bytes
        self.shards: int = facts.shards
        self.chunks: int = facts.chunks
        self.chunk_bytes: int = facts.chunk_bytes
        self.codec: str = CODECS[facts.codec]
        self.model_name: Optional[str] = facts.model_name.decode(errors="replace") if facts.has_model else None
        self.model_sha256: Optional[str] = bytes(facts.model).hex() if facts.has_model else None
        self.documents = Documents(self, facts.documents)

    @property
    def _handle(self) -> Handle:
        if self._open is None:
            raise ValueError(f"{self.path}: this archive is closed")
        return self._open

    def close(self) -> None:
        self._open = None

    @property
    def closed(self) -> bool:
        return self._open is None

    def __enter__(self):
        self._handle
        return self

    def __exit__(self, *_):
        self.close()

    def __len__(self) -> int:
        return self._size

    def __repr__(self):
        return f"<llmc archive {self.path!r}: {self._size} bytes, {len(self.documents)} documents>"

    def __reduce__(self):
        # A process that gets it opens the file anew: workers of a DataLoader, for one.
        return _reopen, (self.path, self._options)

    def _read(self, begin: int, end: int) -> bytes:
        out = bytearray(end - begin)
        if out:
            handle, patience = self._handle, Patience()
            into = (ctypes.c_char * len(out)).from_buffer(out)
            patience.check(lib.llmc_read(handle.pointer, begin, end, into, patience.callback, None))
            del into
        return bytes(out)

    @property
    def counters(self) -> Counters:
        counts, handle = Counts(), self._handle
        lib.llmc_get_counters(handle.pointer, ctypes.byref(counts))
        return Counters(*(getattr(counts, name) for name in Counters._fields))

    def chunk(self, number: int) -> Tuple[int, int]:
        """Where the text of a chunk begins and ends: what is decoded as a whole. There are `chunks` of them."""
        if not 0 <= number < self.chunks:
            raise IndexError(f"chunk {number} of {self.chunks}")
        begin, end, handle = ctypes.c_uint64(), ctypes.c_uint64(), self._handle
        check(lib.llmc_chunk_at(handle.pointer, number, ctypes.byref(begin), ctypes.byref(end)))
        return begin.value, end.value

    def verify(self) -> None:
        """Compares every digest and checksum of all files; needs no model. Raises DamagedError with all findings."""
        handle, patience = self._handle, Patience()
        patience.check(lib.llmc_verify(handle.pointer, patience.callback, None))


def _reopen(path, options):
    return Archive(path, **options)


class Documents(collections.abc.Sequence):
    """Files, folders and links in byte order of their names: by number, or by name."""

    def __init__(self, archive: Archive, count: int):
        self._archive, self._count = archive, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator["Document"]:
        for number in range(self._count):
            yield self._at(number)

    def _at(self, number: int) -> "Document":
        row, handle = DocumentRow(), self._archive._handle
        check(lib.llmc_document_at(handle.pointer, number, ctypes.byref(row)))
        return Document(self._archive, row)

    def get(self, name: Union[str, bytes, os.PathLike], default=None) -> Optional["Document"]:
        row, found, handle = DocumentRow(), ctypes.c_int(), self._archive._handle
        key = os.fsencode(name)
        check(lib.llmc_find(handle.pointer, key, len(key), ctypes.byref(found), ctypes.byref(row)))
        return Document(self._archive, row) if found.value else default

    def __getitem__(self, key) -> "Document":
        if isinstance(key, (str, bytes, os.PathLike)):
            document = self.get(key)
            if document is None:
                raise KeyError(key)
            return document
        if isinstance(key, slice):
            return [self._at(number) for number in range(*key.indices(self._count))]
        number = key.__index__()
        if not -self._count <= number < self._count:
            raise IndexError(f"document {number} of {self._count}")
        return self._at(number % self._count)

    def __contains__(self, name) -> bool:
        return isinstance(name, (str, bytes, os.PathLike)) and self.get(name) is not None


class Document(_Text):
    """One file, folder or link. In one shard of a set, opened alone, the part of a file that stands there."""

    def __init__(self, archive: Archive, row: DocumentRow):
        self.archive = archive
        self.number: int = row.number
        self.name_bytes: bytes = row.name
        self.kind: str = KINDS[row.kind]
        self.size: int = row.size
        self.begin: int = row.begin  # of its text in the archive's
        self.offset: int = row.offset  # of that text in the whole document
        self.mode: int = row.mode
        self.mtime_ns: int = row.mtime_ns
        self.target: Optional[str] = os.fsdecode(row.target) if self.kind == "link" else None
        self.records_kind: Optional[str] = RECORD_KINDS[row.records_kind]
        self._record_count = row.records
        self._records = None

    @property
    def name(self) -> str:
        """As os.fsdecode gives it: bytes that are no UTF-8 become lone surrogates."""
        return os.fsdecode(self.name_bytes)

    def __len__(self) -> int:
        return self.size

    def __repr__(self):
        return f"<llmc {self.kind} {self.name!r}: {self.size} bytes>"

    def _read(self, begin: int, end: int) -> bytes:
        return self.archive._read(self.begin + begin, self.begin + end)

    def read(self) -> bytes:
        """All of it, held against its SHA-256."""
        out = bytearray(self.size)
        if out:
            handle, patience = self.archive._handle, Patience()
            into = (ctypes.c_char * len(out)).from_buffer(out)
            patience.check(lib.llmc_read_document(handle.pointer, self.number, into, patience.callback, None))
            del into
        return bytes(out)

    __bytes__ = read

    @property
    def records(self) -> "Records":
        """Its lines or members, where the archive was made with --documents; empty otherwise."""
        if self._records is None:
            self._records = Records(self, self._record_count)
        return self._records


class Records(collections.abc.Sequence):
    """The records of a document, by number."""

    def __init__(self, document: Document, count: int):
        rows, names, handle = ctypes.POINTER(RecordRow)(), ctypes.c_void_p(), document.archive._handle
        self._document, self._rows = document, []
        if count == 0:
            return
        check(lib.llmc_records(handle.pointer, document.number, ctypes.byref(rows), ctypes.byref(names)))
        try:
            at = names.value
            for i in range(count):
                row = rows[i]
                self._rows.append((row.offset, row.size, row.method, ctypes.string_at(at, row.name_bytes)))
                at += row.name_bytes
        finally:
            lib.llmc_free(ctypes.cast(rows, ctypes.c_void_p))
            lib.llmc_free(names)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key):
        if isinstance(key, slice):
            return [Record(self._document, *row) for row in self._rows[key]]
        return Record(self._document, *self._rows[key])


class Record(_Text):
    """A line of a file, or a member of a tar, zip or WARC."""

    def __init__(self, document: Document, offset: int, size: int, method: int, name: bytes):
        self.document, self.offset, self.name, self._size, self._method = (
            document,
            offset,
            os.fsdecode(name),
            size,
            method,
        )

    def __len__(self) -> int:
        """Bytes as they stand in the document: of a deflated member, its packed ones."""
        return self._size

    def _read(self, begin: int, end: int) -> bytes:
        at = self.document.begin + self.offset - self.document.offset
        return self.document.archive._read(at + begin, at + end)

    def read(self) -> bytes:
        """Its bytes; of a deflated zip member those that it was made of."""
        data = self._read(0, self._size)
        if self._method == 0:
            return data
        if self._method != 8:
            raise Error(f"{self.document.name}/{self.name}: packed by method {self._method}, which is not supported")
        inflate = zlib.decompressobj(-15)
        try:
            plain = inflate.decompress(data, MOST_MEMBER_BYTES)
        except zlib.error as error:
            raise DamagedError(f"{self.document.name}/{self.name}: {error}") from None
        if not inflate.eof:
            raise DamagedError(
                f"{self.document.name}/{self.name}: is cut off, or larger than {MOST_MEMBER_BYTES} bytes"
            )
        return plain

    __bytes__ = read
