/* Archives for programs in other languages: text, documents and records of what llmc-batch made, decoded by the same
 * code.
 *
 * A C interface without exceptions, over one shared library (libllmc.so) that needs neither libhdf5, MPI nor torch and
 * offers no other symbol, so that it may stand in a process beside any of these. The Python package in python/ is over
 * it.
 *
 * Functions that can fail return a code, which is the exit code that llmc-batch would have ended with;
 * llmc_last_error() is then the sentence that it would have said. Any thread may call any function with any archive,
 * several at once; llmc_close() comes after the last of them. No thread outlives the call that started it, so a process
 * may fork between calls.
 *
 * Nothing in an archive is trusted: damage gives LLMC_DAMAGED, and no byte is handed out that has not passed the CRC of
 * its chunk.
 */
#ifndef LLMC_H
#define LLMC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LLMC_API __attribute__((visibility("default")))

/* Of this header: a program asks llmc_interface() and stops where that differs. */
#define LLMC_INTERFACE 1

enum {
  LLMC_OK = 0,
  LLMC_FAILURE = 1, /* I/O, memory, written by a newer version */
  LLMC_USAGE = 2,   /* a range or number that the archive does not have */
  LLMC_MISSING = 10,
  LLMC_MODEL = 12, /* the model that the text was coded with is not at hand */
  LLMC_DAMAGED = 20,
  LLMC_INTERRUPTED = 130
};

enum { LLMC_NAME_BYTES = 4096 };

typedef struct llmc_archive llmc_archive;

/* Asked about ten times a second while text is decoded, on the thread that called; 0 ends the call with
 * LLMC_INTERRUPTED. */
typedef int (*llmc_go_on)(void* context);

typedef struct {
  uint64_t text_bytes;
  uint64_t documents; /* files, folders and links */
  uint64_t chunks;
  uint32_t shards;
  uint32_t chunk_bytes;
  uint32_t codec; /* that was asked for: 0 stored, 1 zstd, 2 range, 3 mix, 4 rank */
  uint8_t has_model;
  uint8_t model[32]; /* SHA-256 */
  char model_name[256];
} llmc_facts;

/* What was done so far for this archive. */
typedef struct {
  uint64_t bytes_read; /* of frames; indexes are read apart from them */
  uint64_t chunks_decoded;
  uint64_t tokens_decoded; /* 0 for chunks that no model coded */
  uint64_t cache_hits;     /* chunks that were still there, decoded */
} llmc_counters;

typedef struct {
  uint64_t number;      /* from 0, in byte order of names */
  uint64_t begin;       /* of its text in the archive's */
  uint64_t size;        /* bytes of text here: all of it, but in one shard of a set that was opened alone */
  uint64_t offset;      /* of these bytes in the document: 0, but where the set's shard before has its beginning */
  uint64_t records;     /* lines, members, ...; 0 where the archive was not made with --documents */
  int64_t mtime_ns;     /* since 1970 */
  uint32_t mode;        /* permission bits */
  uint8_t kind;         /* 0 file, 1 folder, 2 link */
  uint8_t records_kind; /* 0 none, 1 lines, 2 jsonl, 3 tar, 4 zip, 5 warc */
  uint32_t name_bytes, target_bytes;
  char name[LLMC_NAME_BYTES];   /* any bytes but NUL; ends with NUL */
  char target[LLMC_NAME_BYTES]; /* of a link */
} llmc_document;

typedef struct {
  uint64_t offset; /* in the document, of its first byte */
  uint64_t size;
  uint32_t name_bytes; /* names of all records stand one after the other */
  uint8_t method;      /* 8: deflated, as it stands in a zip file */
} llmc_record;

LLMC_API uint32_t llmc_interface(void);
/* Of the calling thread's last call that failed; valid until its next one. */
LLMC_API const char* llmc_last_error(void);

/* A set's folder, one .h5 file, or one shard of a set. model: path of the model file, or NULL: then the built-in one,
 * or the copy inside the set, or one in the files and folders of LLMC_MODEL_PATH, whichever has the digest that the
 * archive names; it is looked for when the first chunk needs it. threads: of one read, at most; 0: the cores of this
 * process. cache_bytes: decoded text that is kept for later reads. */
LLMC_API int llmc_open(const char* path, const char* model, uint32_t threads, uint64_t cache_bytes,
                       llmc_archive** archive);
LLMC_API void llmc_close(llmc_archive* archive);

LLMC_API void llmc_get_facts(llmc_archive* archive, llmc_facts* facts);
LLMC_API void llmc_get_counters(llmc_archive* archive, llmc_counters* counters);

/* Bytes [begin, end) of the text into out. Decodes the chunks that hold them and no others. go_on may be NULL. */
LLMC_API int llmc_read(llmc_archive* archive, uint64_t begin, uint64_t end, void* out, llmc_go_on go_on, void* context);

/* Where the text of one chunk, of facts.chunks, begins and ends: what is decoded as a whole. */
LLMC_API int llmc_chunk_at(llmc_archive* archive, uint64_t chunk, uint64_t* begin, uint64_t* end);

LLMC_API int llmc_document_at(llmc_archive* archive, uint64_t number, llmc_document* document);
/* *found: 0 where there is no document of this name. */
LLMC_API int llmc_find(llmc_archive* archive, const char* name, size_t name_bytes, int* found, llmc_document* document);
/* All of a document's text, document->size bytes, held against its SHA-256. */
LLMC_API int llmc_read_document(llmc_archive* archive, uint64_t number, void* out, llmc_go_on go_on, void* context);
/* The records of a document, document->records of them, and their names. Both arrays are malloc'ed; llmc_free() takes
 * them back. */
LLMC_API int llmc_records(llmc_archive* archive, uint64_t number, llmc_record** records, char** names);
LLMC_API void llmc_free(void* memory);

/* Every digest and checksum of all files, as 'llmc-batch verify' without --data; needs no model. LLMC_DAMAGED:
 * llmc_last_error() has one line for each finding. */
LLMC_API int llmc_verify(llmc_archive* archive, llmc_go_on go_on, void* context);

#ifdef __cplusplus
}
#endif

#endif
