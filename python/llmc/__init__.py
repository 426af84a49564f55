"""Archives of llmc-batch, read from Python.

    import llmc

    with llmc.open("corpus.set") as archive:
        len(archive)                        # bytes of text
        archive[1000:2000]                  # any of them; only the chunks that hold them are decoded
        archive.documents["a/b.txt"].read() # a file, held against its SHA-256
        for document in archive.documents:
            print(document.name, document.size)

Errors are llmc.Error and its kinds: MissingError, ModelError, DamagedError.
"""

from ._archive import Archive, Counters, Document, Documents, Record, open
from ._library import DamagedError, Error, MissingError, ModelError

__all__ = [
    "open",
    "Archive",
    "Counters",
    "Document",
    "Documents",
    "Record",
    "Error",
    "MissingError",
    "ModelError",
    "DamagedError",
]
__version__ = "0.1.0"
