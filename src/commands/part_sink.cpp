#include "commands/part_sink.h"

#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/file.h"
#include "corpus/names.h"

namespace llmc {

namespace {

// A member is inflated in memory, and no larger than this.
constexpr size_t max_member_bytes = size_t{1} << 30;

Result<Bytes> inflate_member(ByteView deflated, const std::string& name) {
  z_stream z = {};
  if (inflateInit2(&z, -MAX_WBITS) != Z_OK) return Status(Code::failure, name + ": no memory to inflate it");
  Bytes plain;
  z.next_in = const_cast<Bytef*>(deflated.data());
  z.avail_in = static_cast<uInt>(deflated.size());
  int rc = Z_OK;
  while (rc == Z_OK && plain.size() < max_member_bytes) {
    const size_t had = plain.size();
    plain.resize(std::min(max_member_bytes, std::max<size_t>(64 << 10, had * 2)));
    z.next_out = plain.data() + had;
    z.avail_out = static_cast<uInt>(plain.size() - had);
    rc = inflate(&z, Z_NO_FLUSH);
    plain.resize(plain.size() - z.avail_out);
    if (rc == Z_BUF_ERROR) break;
  }
  inflateEnd(&z);
  if (rc != Z_STREAM_END) return Status(Code::corrupt, name + ": its deflated bytes do not unpack");
  return plain;
}

class TreeOutput : public TargetOutput {
 public:
  TreeOutput(ArchiveReader& archive, OutputTree& tree) : archive_(archive), tree_(tree) {}
  Status begin(const Target& target) override {
    LLMC_ASSIGN(const auto file, archive_.shard(target.shard));
    Entry entry = file->index().entries[target.entry].entry;
    if (target.record >= 0) {
      // Names of records are whatever their makers wrote.
      const std::string plain = entry.name + "/record-" + std::to_string(target.record + 1);
      entry.name = check_entry_name(target.name).ok() ? target.name : plain;
      entry.mode = 0644;
    } else if (target.size != entry.size) {
      // Some shards of a file that is cut over several: its name says which bytes these are.
      entry.name += ".bytes-" + std::to_string(target.offset) + "-" + std::to_string(target.offset + target.size);
    }
    entry.size = target.size;
    LLMC_ASSIGN(handle_, tree_.create(entry));
    at_ = 0;
    return {};
  }
  Status write(ByteView bytes) override {
    const uint64_t at = at_;
    at_ += bytes.size();
    return tree_.write_at(handle_, at, bytes);
  }
  Status end() override { return tree_.finish(handle_); }
  Status give_up() override {
    tree_.discard(handle_);
    return {};
  }

 private:
  ArchiveReader& archive_;
  OutputTree& tree_;
  OutputTree::Handle handle_ = 0;
  uint64_t at_ = 0;
};

class StreamOutput : public TargetOutput {
 public:
  StreamOutput(int descriptor, std::string name) : descriptor_(descriptor), name_(std::move(name)) {}
  Status begin(const Target&) override { return {}; }
  Status write(ByteView bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = ::write(descriptor_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return errno_status(errno, name_);
      bytes = bytes.subspan(static_cast<size_t>(n));
    }
    return {};
  }
  Status end() override { return {}; }
  Status give_up() override {
    return {Code::corrupt, name_ + ": ends here, since what follows is damaged; extract to a folder to get the rest"};
  }

 private:
  int descriptor_;
  std::string name_;
};

class NullOutput : public TargetOutput {
 public:
  Status begin(const Target&) override { return {}; }
  Status write(ByteView) override { return {}; }
  Status end() override { return {}; }
  Status give_up() override { return {}; }
};

}  // namespace

std::unique_ptr<TargetOutput> make_tree_output(ArchiveReader& archive, OutputTree& tree) {
  return std::make_unique<TreeOutput>(archive, tree);
}
std::unique_ptr<TargetOutput> make_stream_output(int descriptor, const std::string& name) {
  return std::make_unique<StreamOutput>(descriptor, name);
}
std::unique_ptr<TargetOutput> make_null_output() { return std::make_unique<NullOutput>(); }

PartSink::PartSink(ArchiveReader& archive, const Selected& selected, TargetOutput& output)
    : archive_(archive), selected_(selected), output_(output) {}

Result<std::string> PartSink::target_name(const Target& target) {
  if (!target.name.empty()) return target.name;
  LLMC_ASSIGN(const auto file, archive_.shard(target.shard));
  return file->index().entries[target.entry].entry.name;
}

Status PartSink::close_target() {
  if (open_ < 0) return {};
  const uint32_t number = static_cast<uint32_t>(open_);
  const Target& target = selected_.targets[number];
  if (done_ != target.size) return lose(number, "its text is not whole in this selection");
  if (target.method == 8) {
    const Result<Bytes> plain = inflate_member(deflated_, target.name);
    if (!plain.ok()) return lose(number, plain.status().message());
    Target whole = target;
    whole.size = plain->size();
    open_ = -1;
    LLMC_TRY(output_.begin(whole));
    LLMC_TRY(output_.write(*plain));
    return output_.end();
  }
  open_ = -1;
  return output_.end();
}

// The target is given up once, whatever else is wrong with it.
Status PartSink::lose(uint32_t number, const std::string& why) {
  if (!lost_.insert(number).second) return {};
  LLMC_ASSIGN(const std::string name, target_name(selected_.targets[number]));
  damage_.push_back(name + ": " + why);
  if (open_ != static_cast<int64_t>(number)) return {};
  open_ = -1;
  deflated_.clear();
  return selected_.targets[number].method == 8 ? Status() : output_.give_up();
}

Status PartSink::enter(const Part& part) {
  inside_ = true;
  piece_sound_ = true;
  piece_hash_ = Sha256();
  if (open_ == part.target || lost_.count(part.target)) return {};
  LLMC_TRY(close_target());
  open_ = part.target;
  done_ = 0;
  deflated_.clear();
  const Target& target = selected_.targets[part.target];
  return target.method == 8 ? Status() : output_.begin(target);
}

Status PartSink::leave(const Part& part) {
  inside_ = false;
  ++part_;
  if (!part.piece || !piece_sound_) return {};
  LLMC_ASSIGN(const auto file, archive_.shard(part.shard));
  ++digests_checked_;
  if (piece_hash_.finish() == file->index().entries[part.entry].sha256) return {};
  return lose(part.target, "its SHA-256 is not the archived one");
}

Status PartSink::text(uint64_t offset, ByteView text) {
  const uint64_t end = offset + text.size();
  while (part_ < selected_.parts.size() && selected_.parts[part_].begin < end) {
    const Part& part = selected_.parts[part_];
    if (!inside_) LLMC_TRY(enter(part));
    const uint64_t from = std::max(offset, part.begin), to = std::min(end, part.end);
    const ByteView bytes = text.subspan(from - offset, to - from);
    if (part.piece) piece_hash_.update(bytes);
    if (open_ == part.target) {
      done_ += bytes.size();
      if (selected_.targets[part.target].method == 8) {
        if (deflated_.size() + bytes.size() > max_member_bytes) {
          LLMC_TRY(lose(part.target, "is too large to be inflated in memory; extract the zip itself"));
        } else {
          deflated_.insert(deflated_.end(), bytes.begin(), bytes.end());
        }
      } else {
        LLMC_TRY(output_.write(bytes));
      }
    }
    if (part.end > end) break;
    LLMC_TRY(leave(part));
  }
  return {};
}

Status PartSink::lost(uint64_t offset, uint64_t size, const std::string& why) {
  damage_.push_back(why);
  const uint64_t end = offset + size;
  while (part_ < selected_.parts.size() && selected_.parts[part_].begin < end) {
    const Part& part = selected_.parts[part_];
    if (!inside_) LLMC_TRY(enter(part));
    piece_sound_ = false;
    LLMC_TRY(lose(part.target, "not given back, since a chunk of it is damaged"));
    if (part.end > end) break;
    LLMC_TRY(leave(part));
  }
  return {};
}

Status PartSink::finish() { return close_target(); }

}  // namespace llmc
