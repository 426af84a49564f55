// llmc.h over ArchiveText: codes for Status, and no exception across the border.
#include <cstdlib>
#include <cstring>
#include <new>
#include <tuple>

#include "archive/verify.h"
#include "reader/archive_text.h"
#include "reader/llmc.h"

struct llmc_archive {
  std::unique_ptr<llmc::ArchiveText> text;
};

namespace llmc {

namespace {

thread_local std::string last_error;

int tell(const Status& status) {
  if (!status.ok()) last_error = status.message();
  return exit_code(status.code());
}

template <class Work>
int guarded(Work&& work) noexcept {
  try {
    return tell(work());
  } catch (const std::bad_alloc&) {
    last_error.clear();
    return LLMC_FAILURE;
  } catch (const std::exception& e) {
    last_error = e.what();
    return LLMC_FAILURE;
  }
}

ArchiveText::GoOn wrap(llmc_go_on go_on, void* context) {
  if (!go_on) return {};
  return [=] { return go_on(context) != 0; };
}

uint32_t copy_name(const std::string& from, char* to) {
  const size_t size = std::min<size_t>(from.size(), LLMC_NAME_BYTES - 1);
  std::memcpy(to, from.data(), size);
  to[size] = 0;
  return static_cast<uint32_t>(size);
}

void fill(const ArchiveDocument& from, llmc_document* to) {
  const Entry& entry = from.first().entry;
  to->number = from.number;
  to->begin = from.begin;
  to->size = from.size;
  to->offset = from.offset;
  to->records = from.records;
  to->mtime_ns = entry.mtime_ns;
  to->mode = entry.mode;
  to->kind = static_cast<uint8_t>(entry.kind);
  to->records_kind = static_cast<uint8_t>(entry.records_kind);
  to->name_bytes = copy_name(entry.name, to->name);
  to->target_bytes = copy_name(entry.target, to->target);
}

// malloc'ed, since a C program frees it.
template <class T>
T* copy_out(const T* from, size_t count) {
  T* const to = static_cast<T*>(std::malloc(std::max<size_t>(count * sizeof(T), 1)));
  if (!to) throw std::bad_alloc();
  if (count) std::memcpy(to, from, count * sizeof(T));
  return to;
}

}  // namespace

}  // namespace llmc

using namespace llmc;

uint32_t llmc_interface(void) { return LLMC_INTERFACE; }

const char* llmc_last_error(void) { return last_error.empty() ? "out of memory" : last_error.c_str(); }

int llmc_open(const char* path, const char* model, uint32_t threads, uint64_t cache_bytes, llmc_archive** archive) {
  return guarded([&]() -> Status {
    ArchiveTextOptions options;
    if (model) options.model = model;
    options.threads = std::min(threads, 1024u);
    options.cache_bytes = cache_bytes;
    LLMC_ASSIGN(auto text, ArchiveText::open(path, options));
    *archive = new llmc_archive{std::move(text)};
    return {};
  });
}

void llmc_close(llmc_archive* archive) { delete archive; }

void llmc_get_facts(llmc_archive* archive, llmc_facts* facts) {
  const ArchiveReader& reader = archive->text->reader();
  std::memset(facts, 0, sizeof *facts);
  facts->text_bytes = reader.text_bytes();
  facts->documents = archive->text->documents();
  facts->chunks = reader.chunks();
  facts->shards = static_cast<uint32_t>(reader.shards().size());
  facts->chunk_bytes = reader.chunk_bytes();
  facts->codec = static_cast<uint32_t>(archive->text->parameters().codec);
  facts->has_model = reader.model() != Digest{};
  std::memcpy(facts->model, reader.model().data(), reader.model().size());
  std::memcpy(facts->model_name, reader.model_name().data(),
              std::min<size_t>(reader.model_name().size(), sizeof facts->model_name - 1));
}

void llmc_get_counters(llmc_archive* archive, llmc_counters* counters) {
  const ArchiveText::Counters& from = archive->text->counters();
  *counters = {from.bytes_read, from.chunks_decoded, from.tokens_decoded, from.cache_hits};
}

int llmc_read(llmc_archive* archive, uint64_t begin, uint64_t end, void* out, llmc_go_on go_on, void* context) {
  return guarded([&] { return archive->text->read(begin, end, static_cast<uint8_t*>(out), wrap(go_on, context)); });
}

int llmc_chunk_at(llmc_archive* archive, uint64_t chunk, uint64_t* begin, uint64_t* end) {
  return guarded([&]() -> Status {
    LLMC_ASSIGN(const auto range, archive->text->chunk(chunk));
    std::tie(*begin, *end) = range;
    return {};
  });
}

int llmc_document_at(llmc_archive* archive, uint64_t number, llmc_document* document) {
  return guarded([&]() -> Status {
    LLMC_ASSIGN(const ArchiveDocument found, archive->text->document(number));
    fill(found, document);
    return {};
  });
}

int llmc_find(llmc_archive* archive, const char* name, size_t name_bytes, int* found, llmc_document* document) {
  return guarded([&]() -> Status {
    LLMC_ASSIGN(const auto there, archive->text->find({name, name_bytes}));
    *found = there.has_value();
    if (there) fill(*there, document);
    return {};
  });
}

int llmc_read_document(llmc_archive* archive, uint64_t number, void* out, llmc_go_on go_on, void* context) {
  return guarded([&]() -> Status {
    LLMC_ASSIGN(const ArchiveDocument found, archive->text->document(number));
    return archive->text->read_document(found, static_cast<uint8_t*>(out), wrap(go_on, context));
  });
}

int llmc_records(llmc_archive* archive, uint64_t number, llmc_record** records, char** names) {
  return guarded([&]() -> Status {
    LLMC_ASSIGN(const ArchiveDocument found, archive->text->document(number));
    std::vector<llmc_record> rows;
    std::string text;
    LLMC_TRY(archive->text->records(found, [&](const Record& record) {
      rows.push_back({record.offset, record.length, static_cast<uint32_t>(record.name.size()), record.method});
      text += record.name;
    }));
    if (rows.size() != found.records)
      return {Code::corrupt, printable(found.first().entry.name) + ": its list of records is damaged"};
    *names = copy_out(text.data(), text.size());
    *records = copy_out(rows.data(), rows.size());
    return {};
  });
}

void llmc_free(void* memory) { std::free(memory); }

int llmc_verify(llmc_archive* archive, llmc_go_on go_on, void* context) {
  return guarded([&]() -> Status {
    StopRequest stop;
    if (go_on) stop = [=] { return go_on(context) == 0; };
    LLMC_ASSIGN(const VerifyReport report, verify_archive(archive->text->reader().path(), stop));
    if (report.stopped) return {Code::interrupted, "interrupted"};
    std::string lines;
    for (const Finding& finding : report.findings) lines += (lines.empty() ? "" : "\n") + finding.describe();
    return lines.empty() ? Status() : Status(Code::corrupt, lines);
  });
}
