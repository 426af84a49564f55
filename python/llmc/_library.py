"""libllmc.so as src/reader/llmc.h describes it.

ctypes lets go of the GIL around each call, and opens the library with RTLD_LOCAL: none of its symbols meets those of
another module in the process.
"""

import ctypes
import os
import threading

INTERFACE = 1
FAILURE, USAGE, MISSING, MODEL, DAMAGED, INTERRUPTED = 1, 2, 10, 12, 20, 130
NAME_BYTES = 4096

GoOn = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)


class Error(Exception):
    """Something went wrong; str() is a sentence that names file and place."""


class MissingError(Error, FileNotFoundError):
    """There is no such archive, or it was never finished."""

    __str__ = Exception.__str__


class ModelError(Error):
    """The model that the text was coded with is not at hand."""


class DamagedError(Error):
    """Stored bytes do not match their checksums, or are no archive. findings: one sentence for each place."""

    @property
    def findings(self):
        return str(self).split("\n")


class Facts(ctypes.Structure):
    _fields_ = [
        ("text_bytes", ctypes.c_uint64),
        ("documents", ctypes.c_uint64),
        ("chunks", ctypes.c_uint64),
        ("shards", ctypes.c_uint32),
        ("chunk_bytes", ctypes.c_uint32),
        ("codec", ctypes.c_uint32),
        ("has_model", ctypes.c_uint8),
        ("model", ctypes.c_uint8 * 32),
        ("model_name", ctypes.c_char * 256),
    ]


class Counts(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("bytes_read", "chunks_decoded", "tokens_decoded", "cache_hits")]


class DocumentRow(ctypes.Structure):
    _fields_ = [
        ("number", ctypes.c_uint64),
        ("begin", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("offset", ctypes.c_uint64),
        ("records", ctypes.c_uint64),
        ("mtime_ns", ctypes.c_int64),
        ("mode", ctypes.c_uint32),
        ("kind", ctypes.c_uint8),
        ("records_kind", ctypes.c_uint8),
        ("name_bytes", ctypes.c_uint32),
        ("target_bytes", ctypes.c_uint32),
        ("name", ctypes.c_char * NAME_BYTES),
        ("target", ctypes.c_char * NAME_BYTES),
    ]


class RecordRow(ctypes.Structure):
    _fields_ = [
        ("offset", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("name_bytes", ctypes.c_uint32),
        ("method", ctypes.c_uint8),
    ]


def _load():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libllmc.so")
    lib = ctypes.CDLL(path)
    archive, pointer = ctypes.c_void_p, ctypes.POINTER
    u32, u64 = ctypes.c_uint32, ctypes.c_uint64
    for name, result, *arguments in (
        ("llmc_interface", u32),
        ("llmc_last_error", ctypes.c_char_p),
        ("llmc_open", ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, u32, u64, pointer(archive)),
        ("llmc_close", None, archive),
        ("llmc_get_facts", None, archive, pointer(Facts)),
        ("llmc_get_counters", None, archive, pointer(Counts)),
        ("llmc_read", ctypes.c_int, archive, u64, u64, ctypes.c_void_p, GoOn, ctypes.c_void_p),
        ("llmc_chunk_at", ctypes.c_int, archive, u64, pointer(u64), pointer(u64)),
        ("llmc_document_at", ctypes.c_int, archive, u64, pointer(DocumentRow)),
        (
            "llmc_find",
            ctypes.c_int,
            archive,
            ctypes.c_char_p,
            ctypes.c_size_t,
            pointer(ctypes.c_int),
            pointer(DocumentRow),
        ),
        ("llmc_read_document", ctypes.c_int, archive, u64, ctypes.c_void_p, GoOn, ctypes.c_void_p),
        ("llmc_records", ctypes.c_int, archive, u64, pointer(pointer(RecordRow)), pointer(ctypes.c_void_p)),
        ("llmc_free", None, ctypes.c_void_p),
        ("llmc_verify", ctypes.c_int, archive, GoOn, ctypes.c_void_p),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    if lib.llmc_interface() != INTERFACE:
        raise ImportError(f"{path} has interface {lib.llmc_interface()}, this package needs {INTERFACE}")
    return lib


lib = _load()


def check(code):
    """Raises what a call's code stands for. Comes right after the call, on its thread."""
    if code == 0:
        return
    message = os.fsdecode(lib.llmc_last_error())
    kind = {
        USAGE: IndexError,
        MISSING: MissingError,
        MODEL: ModelError,
        DAMAGED: DamagedError,
        INTERRUPTED: KeyboardInterrupt,
    }
    raise kind.get(code, Error)(message)


class Patience:
    """A callback for long calls, so that Ctrl-C ends them: handlers of signals run while it does, on the main thread.

    A generator, since it is resumed inside its try: what a handler raises cannot come before that and be lost.
    """

    def __init__(self):
        self.raised, self.callback = None, GoOn()
        if threading.current_thread() is threading.main_thread():
            answers = self._answers()
            next(answers)
            self.callback = GoOn(answers.send)

    def _answers(self):
        try:
            while True:
                yield 1
        except GeneratorExit:
            return
        except BaseException as error:
            self.raised = error
        while True:
            yield 0

    def check(self, code):
        if self.raised is not None:
            raise self.raised
        check(code)


class Handle:
    """An open archive. Closed when the last call that uses it is over, whoever let go of it before."""

    def __init__(self, path, model, threads, cache_bytes):
        self.pointer = ctypes.c_void_p()
        check(lib.llmc_open(path, model, threads, cache_bytes, ctypes.byref(self.pointer)))

    def __del__(self, close=lib.llmc_close):
        if self.pointer:
            close(self.pointer)
            self.pointer = None
