// The plan as bytes: what decides the archive, then where its bytes come from, then SHA-256.

#include <algorithm>

#include "base/fault.h"
#include "base/file.h"
#include "plan/plan.h"

namespace llmc {
namespace {

constexpr std::string_view magic = "LLMCPLN1";
constexpr std::string_view archived_magic = "llmc-batch plan 1\n";
constexpr std::string_view adapted_magic = "llmc-batch plan 2\n";  // an adaptation stands behind the model's name
constexpr uint64_t max_plan_file = uint64_t{1} << 36;
// Bytes that the shortest entry takes: bounds the count before memory is taken.
constexpr uint64_t min_entry_bytes = 8;

void write_archived(ByteWriter& out, const Entry& e) {
  out.string(e.name);
  out.u8(static_cast<uint8_t>(e.kind));
  out.varint(e.mode);
  out.svarint(e.mtime_ns);
  out.string(e.target);
  out.varint(e.size);
  out.u8(static_cast<uint8_t>(e.records_kind));
  out.u8(e.unpacked);
  if (e.unpacked) out.bytes(e.source_digest);
  out.varint(e.records.count);
  out.string(as_text(e.records.packed));
}

bool read_archived(ByteReader& in, Entry* e) {
  e->name = in.string();
  const uint8_t kind = in.u8();
  const uint64_t mode = in.varint();
  e->mtime_ns = in.svarint();
  e->target = in.string();
  e->size = in.varint();
  const uint8_t records_kind = in.u8();
  e->unpacked = in.u8();
  if (e->unpacked) {
    const ByteView digest = in.bytes(e->source_digest.size());
    if (digest.empty()) return false;
    std::copy(digest.begin(), digest.end(), e->source_digest.begin());
  }
  e->records.count = in.varint();
  const ByteView packed = as_bytes(in.string());
  e->records.packed.assign(packed.begin(), packed.end());
  if (!in.ok() || kind > 2 || mode > 07777 || records_kind > 5 || e->unpacked > 2) return false;
  e->kind = static_cast<Entry::Kind>(kind);
  e->mode = static_cast<uint32_t>(mode);
  e->records_kind = static_cast<RecordKind>(records_kind);
  return true;
}

}  // namespace

Bytes Plan::archived_bytes() const {
  ByteWriter out;
  out.bytes(as_bytes(options_.adaptation.empty() ? archived_magic : adapted_magic));
  out.varint(options_.shard_bytes);
  out.varint(options_.chunk_bytes);
  out.string(as_text(options_.parameters));
  out.bytes(options_.model);
  out.string(options_.model_name);
  if (!options_.adaptation.empty()) out.string(as_text(options_.adaptation));
  out.varint(entries_.size());
  for (const Entry& e : entries_) write_archived(out, e);
  return out.take();
}

Bytes Plan::serialize() const {
  ByteWriter out;
  out.bytes(as_bytes(magic));
  const Bytes archived = archived_bytes();
  out.u64(archived.size());
  out.bytes(archived);
  for (const Entry& e : entries_) {
    out.string(e.source);
    out.varint(e.source_size);
    out.svarint(e.source_mtime_ns);
    out.varint(e.source_inode);
  }
  const Digest digest = sha256(out.view());
  out.bytes(digest);
  return out.take();
}

Result<Plan> Plan::parse(ByteView bytes, const std::string& name) {
  const Status damaged(Code::corrupt, name + ": not a plan of this version, or damaged");
  if (bytes.size() < magic.size() + sizeof(Digest) || as_text(bytes.first(magic.size())) != magic) return damaged;
  const ByteView body = bytes.first(bytes.size() - sizeof(Digest));
  const Digest digest = sha256(body);
  if (!std::equal(digest.begin(), digest.end(), bytes.begin() + static_cast<ptrdiff_t>(body.size()))) return damaged;

  ByteReader file(body.subspan(magic.size()));
  const uint64_t archived_size = file.u64();
  ByteReader in(file.bytes(archived_size));
  const std::string_view version = as_text(in.bytes(archived_magic.size()));
  const bool adapted = version == adapted_magic;
  if (version != archived_magic && !adapted) return damaged;
  PlanOptions options;
  options.shard_bytes = in.varint();
  const uint64_t chunk_bytes = in.varint();
  const ByteView parameters = as_bytes(in.string());
  options.parameters.assign(parameters.begin(), parameters.end());
  const ByteView model = in.bytes(options.model.size());
  if (model.size() == options.model.size()) std::copy(model.begin(), model.end(), options.model.begin());
  options.model_name = in.string();
  if (adapted) {
    const ByteView adaptation = as_bytes(in.string());
    if (adaptation.empty() || adaptation.size() > max_plan_adaptation_bytes) return damaged;
    options.adaptation.assign(adaptation.begin(), adaptation.end());
  }
  const uint64_t count = in.varint();
  if (!in.ok() || chunk_bytes > max_plan_chunk_bytes || count > in.left() / min_entry_bytes) return damaged;
  options.chunk_bytes = static_cast<uint32_t>(chunk_bytes);
  std::vector<Entry> entries(count);
  for (Entry& e : entries) {
    if (!read_archived(in, &e)) return damaged;
    e.source = file.string();
    e.source_size = file.varint();
    e.source_mtime_ns = file.svarint();
    e.source_inode = file.varint();
  }
  if (!in.done() || !file.done()) return damaged;
  auto plan = make(std::move(entries), std::move(options));
  if (!plan.ok()) return Status(Code::corrupt, name + ": " + plan.status().message());
  return plan;
}

Status Plan::save(const std::filesystem::path& path) const {
  LLMC_TRY(write_file_atomic(path, serialize()));
  return fault_point("plan.saved");
}

Result<Plan> Plan::load(const std::filesystem::path& path) {
  LLMC_ASSIGN(const Bytes bytes, read_file(path, max_plan_file));
  return parse(bytes, path.string());
}

Status Plan::check_same_as(const Plan& saved) const {
  auto differs = [](const std::string& what) {
    return Status(Code::failure, what + "; finish with what it was, or start anew with --force");
  };
  const PlanOptions& a = options_;
  const PlanOptions& b = saved.options_;
  if (digest_ != saved.digest_) {
    if (a.model != b.model) {
      return {Code::model, "the model differs from the one that this output was begun with: " + to_hex(a.model) + " (" +
                               a.model_name + ") now, " + to_hex(b.model) + " (" + b.model_name + ") then"};
    }
    if (a.chunk_bytes != b.chunk_bytes) return differs("the chunk size differs from when this output was begun");
    if (a.shard_bytes != b.shard_bytes) return differs("the shard size differs from when this output was begun");
    if (a.adaptation != b.adaptation) return differs("the adaptation (--adapt) differs from the one that this output was begun with");
    if (a.parameters != b.parameters) return differs("the coding parameters differ from when this output was begun");
    if (a.model_name != b.model_name) return differs("the model's name differs from when this output was begun");
  }
  const char* const added = ": was not among the inputs when this output was begun";
  const char* const removed = ": no longer among the inputs";
  for (size_t i = 0; i < std::max(entries_.size(), saved.entries_.size()); ++i) {
    if (i >= entries_.size()) return differs(printable(saved.entries_[i].name) + removed);
    if (i >= saved.entries_.size()) return differs(printable(entries_[i].name) + added);
    const Entry& now = entries_[i];
    const Entry& then = saved.entries_[i];
    if (now.name != then.name) {
      return differs(now.name < then.name ? printable(now.name) + added : printable(then.name) + removed);
    }
    const char* what = nullptr;
    if (now.size != then.size || now.source_size != then.source_size) what = "size";
    else if (now.source_mtime_ns != then.source_mtime_ns || now.mtime_ns != then.mtime_ns) what = "modification time";
    else if (now.source_inode != then.source_inode) what = "inode";
    else if (now.source_digest != then.source_digest) what = "content";
    else if (now.kind != then.kind || now.mode != then.mode || now.target != then.target) what = "kind, mode or target";
    else if (now.unpacked != then.unpacked || now.records_kind != then.records_kind ||
             now.records.count != then.records.count || now.records.packed != then.records.packed) what = "records";
    if (what) return differs(printable(now.name) + ": changed since this output was begun (" + what + ")");
  }
  if (digest_ != saved.digest_) return differs("the plan differs from when this output was begun");
  return {};
}

}  // namespace llmc
