#include "archive/spool.h"

#include <algorithm>
#include <chrono>

#include "base/fault.h"
#include "frame/frame.h"

namespace llmc {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view segment_magic = "LLMCSPL1";
constexpr size_t segment_header_bytes = 48;
constexpr uint32_t record_magic = 0x5250534c;  // "LSPR"
constexpr size_t record_header_bytes = 24;
constexpr uint64_t max_payload = uint64_t{max_chunk_bytes} + frame_header_bytes;
enum : uint8_t { record_seed = 1, record_frame = 2, record_digest = 3, record_dictionary = 4 };

Bytes segment_header(const Digest& plan, uint32_t number) {
  ByteWriter out;
  out.bytes(as_bytes(segment_magic));
  out.bytes(plan);
  out.u32(number);
  out.u32(crc32c(out.view()));
  return out.take();
}

}  // namespace

Spool::Spool(const fs::path& folder, const Plan& plan, SpoolOptions options)
    : folder_(folder), plan_(&plan), options_(std::move(options)) {
  synced_at_ = now();
}

double Spool::now() const {
  if (options_.now) return options_.now();
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

fs::path Spool::segment_path(uint32_t number) const {
  const std::string digits = std::to_string(number);
  return folder_ / ("spool-" + std::string(6 - std::min<size_t>(6, digits.size()), '0') + digits);
}

// Records of another plan have other CRCs.
uint32_t Spool::crc_seed() const {
  ByteReader in(plan_->digest());
  return in.u32();
}

Result<Spool> Spool::open(const fs::path& folder, const Plan& plan, SpoolOptions options) {
  Spool spool(folder, plan, std::move(options));
  std::vector<uint32_t> numbers;
  std::error_code error;
  for (const auto& item : fs::directory_iterator(folder, error)) {
    const std::string name = item.path().filename();
    if (name.size() < 12 || name.rfind("spool-", 0) != 0) continue;
    const std::string digits = name.substr(6);
    if (digits.size() > 9 || digits.find_first_not_of("0123456789") != std::string::npos) continue;
    numbers.push_back(static_cast<uint32_t>(std::stoul(digits)));
  }
  if (error) return errno_status(error.value(), folder);
  std::sort(numbers.begin(), numbers.end());
  for (const uint32_t number : numbers) {
    LLMC_TRY(spool.scan(number));
    spool.next_segment_ = number + 1;
  }
  if (!spool.options_.read_only && !spool.segments_.empty() && spool.segments_.rbegin()->second.bytes < spool.options_.segment_bytes) {
    LLMC_ASSIGN(spool.active_, File::open_update(spool.segment_path(spool.segments_.rbegin()->first)));
  }
  return spool;
}

Status Spool::scan(uint32_t number) {
  const fs::path path = segment_path(number);
  LLMC_ASSIGN(File file, options_.read_only ? File::open_read(path) : File::open_update(path));
  LLMC_ASSIGN(const uint64_t size, file.size());
  Bytes header(segment_header_bytes);
  const bool whole = size >= header.size();
  if (whole) LLMC_TRY(file.read_at(0, header));
  if (!whole || header != segment_header(plan_->digest(), number)) {
    // Killed while it was created, or of another plan: nothing in it can be used.
    cut_ += size;
    if (options_.read_only) return {};
    std::error_code error;
    fs::remove(path, error);
    return error ? errno_status(error.value(), path) : Status();
  }
  Segment& segment = segments_[number];
  uint64_t at = segment_header_bytes;
  header.resize(record_header_bytes);
  Bytes buffer;
  while (size - at >= record_header_bytes) {
    LLMC_TRY(file.read_at(at, header));
    ByteReader in(header);
    const uint32_t magic = in.u32();
    const uint32_t kind = in.u32();
    const uint32_t shard = in.u32();
    const uint32_t item = in.u32();
    const uint32_t length = in.u32();
    const uint32_t expected = in.u32();
    if (magic != record_magic || kind > 255 || length > max_payload || length > size - at - record_header_bytes) break;
    uint32_t crc = crc32c(ByteView(header).first(record_header_bytes - 4), crc_seed());
    const uint64_t payload = at + record_header_bytes;
    for (uint64_t done = 0; done < length; done += buffer.size()) {
      buffer.resize(std::min<uint64_t>(length - done, 1u << 20));
      LLMC_TRY(file.read_at(payload + done, buffer));
      crc = crc32c(buffer, crc);
    }
    if (crc != expected) break;
    note(number, static_cast<uint8_t>(kind), shard, item, payload, length, buffer);
    at = payload + length;
  }
  segment.bytes = at;
  if (at < size) {
    // Torn by a kill, or damaged: what stands behind the damage is computed again.
    cut_ += size - at;
    if (!options_.read_only) LLMC_TRY(file.truncate(at));
  }
  return {};
}

Spool::ShardState& Spool::state(uint32_t shard) {
  ShardState& s = shards_[shard];
  if (s.chunks.empty()) s.chunks.resize(plan_->shard_chunks(shard));
  return s;
}

void Spool::note(uint32_t segment, uint8_t kind, uint32_t shard, uint32_t number, uint64_t offset, uint32_t length,
                 ByteView payload) {
  if (shard >= plan_->shards().size()) return;
  ShardState& s = state(shard);
  if (std::find(s.segments.begin(), s.segments.end(), segment) == s.segments.end()) {
    s.segments.push_back(segment);
    ++segments_[segment].shards;
  }
  if (kind == record_seed && length == 0) {
    if (!s.seed) s.seed = number;
  } else if (kind == record_frame && length > 0 && number < s.chunks.size()) {
    if (s.chunks[number].length == 0) {
      s.chunks[number] = {offset, segment, length};
      ++s.frames;
    }
  } else if (kind == record_dictionary && number == 0) {
    if (!s.dictionary) s.dictionary = Location{offset, segment, length};
  } else if (kind == record_digest && payload.size() == sizeof(Digest) && length == sizeof(Digest)) {
    const Shard& plan = plan_->shards()[shard];
    if (number >= plan.pieces) return;
    Digest digest;
    std::copy(payload.begin(), payload.end(), digest.begin());
    digests_.emplace(plan.first_piece + number, digest);
  }
}

std::optional<uint32_t> Spool::seed(uint32_t shard) const {
  const auto at = shards_.find(shard);
  return at == shards_.end() ? std::nullopt : at->second.seed;
}
bool Spool::has_frame(uint32_t shard, uint32_t chunk) const {
  const auto at = shards_.find(shard);
  return at != shards_.end() && chunk < at->second.chunks.size() && at->second.chunks[chunk].length != 0;
}
uint32_t Spool::frames(uint32_t shard) const {
  const auto at = shards_.find(shard);
  return at == shards_.end() ? 0 : at->second.frames;
}
const Digest* Spool::digest(size_t piece) const {
  const auto at = digests_.find(piece);
  return at == digests_.end() ? nullptr : &at->second;
}

Status Spool::create_segment() {
  const uint32_t number = next_segment_;
  LLMC_ASSIGN(File file, File::create(segment_path(number)));
  LLMC_TRY(file.write_at(0, segment_header(plan_->digest(), number)));
  LLMC_TRY(fault_point("spool.created"));
  LLMC_TRY(sync_directory(folder_));
  segments_[number].bytes = segment_header_bytes;
  active_ = std::move(file);
  ++next_segment_;
  return {};
}

Status Spool::append(uint8_t kind, uint32_t shard, uint32_t number, ByteView payload) {
  if (active_.is_open() && segments_.rbegin()->second.bytes >= options_.segment_bytes) {
    LLMC_TRY(active_.sync_data());
    LLMC_TRY(active_.close());
  }
  if (!active_.is_open()) LLMC_TRY(create_segment());
  const uint32_t id = segments_.rbegin()->first;
  const uint64_t at = segments_.rbegin()->second.bytes;

  ByteWriter header;
  header.u32(record_magic);
  header.u32(kind);
  header.u32(shard);
  header.u32(number);
  header.u32(static_cast<uint32_t>(payload.size()));
  header.u32(crc32c(payload, crc32c(header.view(), crc_seed())));
  auto write = [&]() -> Status {
    LLMC_TRY(active_.write_at(at, header.view()));
    const size_t half = payload.size() / 2;
    LLMC_TRY(active_.write_at(at + record_header_bytes, payload.first(half)));
    LLMC_TRY(fault_point("spool.append"));  // here, so that the tests see torn records
    return active_.write_at(at + record_header_bytes + half, payload.subspan(half));
  };
  if (const Status status = write(); !status.ok()) {
    // Another try must not leave half a record in front of it; the scan would cut it as well.
    if (!active_.truncate(at).ok()) (void)active_.close();
    return status;
  }
  segments_.rbegin()->second.bytes = at + record_header_bytes + payload.size();
  unsynced_ = true;
  note(id, kind, shard, number, at + record_header_bytes, static_cast<uint32_t>(payload.size()), payload);
  return sync_if_due();
}

Status Spool::add_seed(uint32_t shard, uint32_t seed) {
  if (this->seed(shard)) return {};
  return append(record_seed, shard, seed, {});
}
Status Spool::add_frame(uint32_t shard, uint32_t chunk, ByteView frame) {
  if (has_frame(shard, chunk)) return {};
  return append(record_frame, shard, chunk, frame);
}
Status Spool::add_digest(size_t piece, const Digest& digest) {
  if (this->digest(piece)) return {};
  const uint32_t shard = plan_->pieces()[piece].shard;
  return append(record_digest, shard, static_cast<uint32_t>(piece - plan_->shards()[shard].first_piece), digest);
}

Status Spool::add_dictionary(uint32_t shard, ByteView frame) {
  if (has_dictionary(shard)) return {};
  return append(record_dictionary, shard, 0, frame);
}

bool Spool::has_dictionary(uint32_t shard) const {
  const auto at = shards_.find(shard);
  return at != shards_.end() && at->second.dictionary;
}

Result<Bytes> Spool::read_frame(uint32_t shard, uint32_t chunk) const {
  if (!has_frame(shard, chunk)) return Status(Code::failure, "the spool has no such frame");
  return read_record(shards_.at(shard).chunks[chunk]);
}

Result<Bytes> Spool::read_dictionary(uint32_t shard) const {
  if (!has_dictionary(shard)) return Status(Code::failure, "the spool has no such dictionary");
  return read_record(*shards_.at(shard).dictionary);
}

Result<Bytes> Spool::read_record(const Location& where) const {
  if (!reader_.is_open() || reader_segment_ != where.segment) {
    LLMC_ASSIGN(reader_, File::open_read(segment_path(where.segment)));
    reader_segment_ = where.segment;
  }
  Bytes record(record_header_bytes + where.length);
  LLMC_TRY(reader_.read_at(where.offset - record_header_bytes, record));
  const ByteView payload = ByteView(record).subspan(record_header_bytes);
  ByteReader in(ByteView(record).subspan(record_header_bytes - 4));
  if (in.u32() != crc32c(payload, crc32c(ByteView(record).first(record_header_bytes - 4), crc_seed()))) {
    return Status(Code::corrupt, printable(reader_.path().native()) + ": a frame in the spool is damaged; run again " +
                                     "with --resume to compute it anew");
  }
  return Bytes(payload.begin(), payload.end());
}

Status Spool::drop(uint32_t shard) {
  const Shard& plan = plan_->shards()[shard];
  if (!digests_.empty()) {
    for (uint64_t p = 0; p < plan.pieces; ++p) digests_.erase(plan.first_piece + p);
  }
  const auto at = shards_.find(shard);
  if (at == shards_.end()) return {};
  for (const uint32_t segment : at->second.segments) --segments_[segment].shards;
  shards_.erase(at);
  return delete_unused();
}

Status Spool::delete_unused() {
  for (auto it = segments_.begin(); it != segments_.end();) {
    if (it->second.shards > 0) {
      ++it;
      continue;
    }
    if (it->first + 1 == next_segment_) active_ = File();
    if (reader_segment_ == it->first) reader_ = File();
    const fs::path path = segment_path(it->first);
    std::error_code error;
    fs::remove(path, error);
    if (error) return errno_status(error.value(), path);
    it = segments_.erase(it);
  }
  return {};
}

Status Spool::sync() {
  if (active_.is_open() && unsynced_) {
    LLMC_TRY(active_.sync_data());
    ++syncs_;
  }
  unsynced_ = false;
  synced_at_ = now();
  return {};
}
Status Spool::sync_if_due() {
  return unsynced_ && now() - synced_at_ >= options_.sync_seconds ? sync() : Status();
}

uint64_t Spool::bytes_on_disk() const {
  uint64_t sum = 0;
  for (const auto& [number, segment] : segments_) sum += segment.bytes;
  return sum;
}

Status Spool::remove() {
  shards_.clear();
  digests_.clear();
  for (auto& [number, segment] : segments_) segment.shards = 0;
  return delete_unused();
}

}  // namespace llmc
