#include "archive/manifest.h"

#include <nlohmann/json.hpp>

#include "archive/format.h"
#include "archive/user_block.h"
#include "base/file.h"
#include "plan/plan.h"

namespace llmc {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::string_view format_name = "llmc-batch set";
// The file ends with exactly this, the digest and a closing brace: what the digest covers is the
// same for every reader, whatever its JSON library does with blanks.
constexpr std::string_view checksum_key = "  \"sha256\": \"";
constexpr std::string_view checksum_end = "\"\n}\n";
constexpr size_t checksum_bytes = checksum_key.size() + 64 + checksum_end.size();

std::string one_line(const ordered_json& j) { return j.dump(-1, ' ', true, json::error_handler_t::replace); }

// Reads members of one object and notes the first that is missing or of another type or range.
class Members {
 public:
  explicit Members(const json& object) : object_(object) {}
  uint64_t number(const char* key, uint64_t limit) {
    const auto at = object_.find(key);
    if (at == object_.end() || !at->is_number_unsigned() || at->get<uint64_t>() > limit) {
      fail(key);
      return 0;
    }
    return at->get<uint64_t>();
  }
  std::string text(const char* key, size_t limit) {
    const auto at = object_.find(key);
    if (at == object_.end() || !at->is_string() || at->get_ref<const std::string&>().size() > limit) {
      fail(key);
      return "";
    }
    return at->get<std::string>();
  }
  bool has(const char* key) const { return object_.contains(key); }
  double rate(const char* key) {
    const auto at = object_.find(key);
    if (at == object_.end() || !at->is_number() || !(at->get<double>() >= 0 && at->get<double>() <= 1)) {
      fail(key);
      return 0;
    }
    return at->get<double>();
  }
  void hex(const char* key, std::span<uint8_t> out) {
    if (!from_hex(text(key, out.size() * 2), out)) fail(key);
  }
  void fail(const char* key) {
    if (wrong_.empty()) wrong_ = key;
  }
  const std::string& wrong() const { return wrong_; }

 private:
  const json& object_;
  std::string wrong_;
};

ordered_json sample_json(const VerifiedSample& sample) { return {{"rate", sample.rate}, {"seed", sample.seed}}; }

std::optional<VerifiedSample> take_sample(const json& object, Members& in) {
  const auto at = object.find("verified");
  if (at == object.end()) return std::nullopt;
  if (!at->is_object()) {
    in.fail("verified");
    return std::nullopt;
  }
  Members sample(*at);
  const VerifiedSample found{sample.rate("rate"), static_cast<uint32_t>(sample.number("seed", 0xFFFFFFFF))};
  if (!sample.wrong().empty()) in.fail("verified");
  return found;
}

// Rows of a list, one a line.
template <class Rows, class Row>
void put_list(std::string& out, const char* name, const Rows& rows, Row&& row) {
  out += std::string("  \"") + name + "\": [";
  const char* separator = "\n";
  for (const auto& r : rows) {
    out += separator + ("    " + one_line(row(r)));
    separator = ",\n";
  }
  out += "\n  ],\n";
}

}  // namespace

bool Manifest::settle() {
  size_t part = 0;
  uint32_t number = 0;
  uint64_t offset = 0, entries_of_parts = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    if (part == parts.size()) return false;
    if (number == 0) parts[part].first_shard = static_cast<uint32_t>(i);
    shards[i].part = static_cast<uint32_t>(part);
    shards[i].number = number;
    shards[i].part_offset = offset;
    offset += shards[i].text_bytes;
    if (++number == parts[part].shards) {
      ++part;
      number = 0;
      offset = 0;
    }
  }
  for (const ManifestPart& p : parts) entries_of_parts += p.entries;
  return part == parts.size() && !parts.empty() && entries_of_parts == entries;
}

Digest content_of_parts(const std::vector<Digest>& contents) {
  if (contents.size() == 1) return contents[0];
  Sha256 hash;
  hash.update(as_bytes("llmc-batch parts 1\n"));
  for (const Digest& content : contents) hash.update(content);
  return hash.finish();
}

std::string Manifest::serialize() const {
  ordered_json head;
  head["format"] = format_name;
  head["version"] = archive_version;
  const bool one = parts.size() == 1;
  head["features"] = features_of(parameters) | (one ? 0 : feature_parts);
  if (one) head["plan"] = to_hex(parts[0].plan);
  head["content"] = to_hex(content);
  head["model"] = {{"sha256", to_hex(model)}, {"name", model_name}};
  head["parameters"] = to_hex(parameters);
  head["chunk_bytes"] = chunk_bytes;
  head["shard_bytes"] = shard_bytes;
  head["entries"] = entries;
  head["text_bytes"] = text_bytes;
  head["chunks"] = chunks;
  head["tokens"] = tokens;
  head["coded_bytes"] = coded_bytes;
  if (one && parts[0].verified) head["verified"] = sample_json(*parts[0].verified);
  if (parity > 0) head["parity"] = parity;
  std::string out = "{\n";
  for (const auto& [key, value] : head.items()) out += "  " + one_line(key) + ": " + one_line(value) + ",\n";
  if (!one) {
    put_list(out, "parts", parts, [](const ManifestPart& p) {
      ordered_json row = {{"plan", to_hex(p.plan)}, {"content", to_hex(p.content)}, {"shards", p.shards}, {"entries", p.entries}};
      if (p.verified) row["verified"] = sample_json(*p.verified);
      return row;
    });
  }
  put_list(out, "shards", shards, [](const ManifestShard& s) {
    ordered_json row;
    row["file"] = s.file;
    row["bytes"] = s.bytes;
    row["sha256"] = to_hex(s.sha256);
    row["user_block"] = to_hex(s.user_block);
    row["text_bytes"] = s.text_bytes;
    row["entries"] = s.entries;
    row["chunks"] = s.chunks;
    if (s.parity_bytes) {
      row["parity_bytes"] = s.parity_bytes;
      row["parity_sha256"] = to_hex(s.parity);
    }
    return row;
  });
  if (!names.empty()) {
    put_list(out, "names", names, [](const ManifestNames& n) {
      return ordered_json{{"file", names_name(n.first, n.end)}, {"first", n.first}, {"shards", n.end - n.first},
                          {"names", n.names}, {"bytes", n.bytes}, {"sha256", to_hex(n.sha256)}};
    });
  }
  if (!companions.empty()) {
    put_list(out, "companions", companions, [](const ManifestCompanion& c) {
      return ordered_json{{"file", c.file}, {"bytes", c.bytes}, {"sha256", to_hex(c.sha256)}};
    });
  }
  const Digest digest = sha256(as_bytes(out));
  return out + std::string(checksum_key) + to_hex(digest) + std::string(checksum_end);
}

Result<Manifest> Manifest::parse(ByteView bytes, const std::string& name) {
  auto refuse = [&](const std::string& what) { return Status(Code::corrupt, name + ": " + what); };
  const std::string_view text = as_text(bytes);
  if (text.size() < checksum_bytes) return refuse("not a manifest, or cut off");
  const std::string_view body = text.substr(0, text.size() - checksum_bytes);
  std::string_view tail = text.substr(body.size());
  if (tail.substr(0, checksum_key.size()) != checksum_key ||
      tail.substr(tail.size() - checksum_end.size()) != checksum_end) {
    return refuse("not a manifest, or cut off");
  }
  // As text: a flipped bit may make a capital of a digit.
  if (to_hex(sha256(as_bytes(body))) != tail.substr(checksum_key.size(), 64)) {
    return refuse("the manifest was changed or is damaged (SHA-256)");
  }

  const json j = json::parse(text.begin(), text.end(), nullptr, false);
  if (!j.is_object()) return refuse("the manifest is not JSON");
  Members in(j);
  if (in.text("format", 64) != format_name) return refuse("not the manifest of an llmc-batch set");
  const uint64_t version = in.number("version", ~0ull);
  const uint64_t features = in.number("features", ~0ull);
  if (in.wrong().empty() && (version > archive_version || (features & ~uint64_t{known_features | feature_parts}) != 0)) {
    return newer_version(name, version, features);
  }
  constexpr uint64_t limit = uint64_t{1} << 62;
  Manifest m;
  in.hex("content", m.content);
  const auto model = j.find("model");
  if (model == j.end() || !model->is_object()) return refuse("the manifest is wrong (model)");
  Members model_in(*model);
  model_in.hex("sha256", m.model);
  m.model_name = model_in.text("name", max_model_name_bytes * 3);
  const std::string parameters = in.text("parameters", max_parameter_bytes * 2);
  m.parameters.resize(parameters.size() / 2);
  if (!from_hex(parameters, m.parameters) || (features & ~feature_parts) != features_of(m.parameters)) in.fail("parameters");
  m.chunk_bytes = static_cast<uint32_t>(in.number("chunk_bytes", max_plan_chunk_bytes));
  m.shard_bytes = in.number("shard_bytes", ~0ull);
  m.entries = in.number("entries", uint64_t{1} << 32);
  m.text_bytes = in.number("text_bytes", limit);
  m.chunks = in.number("chunks", limit);
  m.tokens = in.number("tokens", limit);
  m.coded_bytes = in.number("coded_bytes", limit);
  if (in.has("parity")) m.parity = in.rate("parity");
  if (!model_in.wrong().empty()) in.fail("model");
  if (version == 0) in.fail("version");
  if (m.chunk_bytes == 0) in.fail("chunk_bytes");
  const auto shards = j.find("shards");
  if (shards == j.end() || !shards->is_array() || shards->empty() || shards->size() > max_shards) in.fail("shards");
  if (in.wrong().empty() && (features & feature_parts) == 0) {
    ManifestPart part;
    in.hex("plan", part.plan);
    part.content = m.content;
    part.shards = static_cast<uint32_t>(shards->size());
    part.entries = m.entries;
    part.verified = take_sample(j, in);
    m.parts.push_back(part);
  } else if (in.wrong().empty()) {
    const auto parts = j.find("parts");
    if (parts == j.end() || !parts->is_array() || parts->size() < 2 || parts->size() > shards->size()) {
      return refuse("the manifest is wrong (parts)");
    }
    for (const json& row : *parts) {
      if (!row.is_object()) return refuse("the manifest is wrong (parts)");
      Members p(row);
      ManifestPart part;
      p.hex("plan", part.plan);
      p.hex("content", part.content);
      part.shards = static_cast<uint32_t>(p.number("shards", max_shards));
      part.entries = p.number("entries", uint64_t{1} << 32);
      part.verified = take_sample(row, p);
      if (part.shards == 0) p.fail("shards");
      if (!p.wrong().empty()) return refuse("the manifest is wrong (part " + std::to_string(m.parts.size()) + ", " + p.wrong() + ")");
      m.parts.push_back(part);
    }
    std::vector<Digest> contents;
    for (const ManifestPart& part : m.parts) contents.push_back(part.content);
    if (m.content != content_of_parts(contents)) in.fail("content");
  }
  if (!in.wrong().empty()) return refuse("the manifest is wrong (" + in.wrong() + ")");

  if (const auto names = j.find("names"); names != j.end()) {
    const Status wrong = refuse("the manifest is wrong (names)");
    if (!names->is_array() || names->empty() || names->size() > shards->size()) return wrong;
    uint32_t at = 0;
    for (const json& row : *names) {
      if (!row.is_object()) return wrong;
      Members n(row);
      ManifestNames found;
      found.first = static_cast<uint32_t>(n.number("first", max_shards));
      found.end = found.first + static_cast<uint32_t>(n.number("shards", max_shards));
      found.names = n.number("names", uint64_t{1} << 32);
      found.bytes = n.number("bytes", limit);
      n.hex("sha256", found.sha256);
      if (n.text("file", 64) != names_name(found.first, found.end) || found.first != at || found.end <= at ||
          found.end > shards->size() || !n.wrong().empty()) {
        return wrong;
      }
      at = found.end;
      m.names.push_back(found);
    }
  }
  if (const auto companions = j.find("companions"); companions != j.end()) {
    if (!companions->is_array() || companions->size() > max_companions) return refuse("the manifest is wrong (companions)");
    for (const json& row : *companions) {
      if (!row.is_object()) return refuse("the manifest is wrong (companions)");
      Members c(row);
      ManifestCompanion companion;
      companion.file = c.text("file", 256);
      companion.bytes = c.number("bytes", limit);
      c.hex("sha256", companion.sha256);
      if (!c.wrong().empty() || !is_companion_name(companion.file)) return refuse("the manifest is wrong (companions)");
      m.companions.push_back(std::move(companion));
    }
  }
  uint64_t text_bytes = 0, chunks = 0;
  for (const json& row : *shards) {
    if (!row.is_object()) return refuse("the manifest is wrong (shards)");
    Members s(row);
    ManifestShard shard;
    shard.file = s.text("file", 64);
    shard.bytes = s.number("bytes", limit);
    s.hex("sha256", shard.sha256);
    s.hex("user_block", shard.user_block);
    shard.text_bytes = s.number("text_bytes", limit);
    shard.entries = s.number("entries", max_shard_pieces);
    shard.chunks = static_cast<uint32_t>(s.number("chunks", max_shard_chunks));
    if (s.has("parity_bytes")) {
      shard.parity_bytes = s.number("parity_bytes", limit);
      s.hex("parity_sha256", shard.parity);
    }
    if (shard.file != shard_name(static_cast<uint32_t>(m.shards.size()))) s.fail("file");
    if (shard.bytes < user_block_bytes) s.fail("bytes");
    if ((shard.text_bytes + m.chunk_bytes - 1) / m.chunk_bytes != shard.chunks) s.fail("chunks");
    if (shard.text_bytes > limit - text_bytes) s.fail("text_bytes");
    if (!s.wrong().empty()) {
      return refuse("the manifest is wrong (shard " + std::to_string(m.shards.size()) + ", " + s.wrong() + ")");
    }
    text_bytes += shard.text_bytes;
    chunks += shard.chunks;
    m.shards.push_back(std::move(shard));
  }
  if (text_bytes != m.text_bytes || chunks != m.chunks) return refuse("the manifest is wrong (sums)");
  if (!m.settle()) return refuse("the manifest is wrong (parts)");
  return m;
}

Result<Manifest> Manifest::load(const std::filesystem::path& path) {
  LLMC_ASSIGN(const Bytes bytes, read_file(path, max_manifest_bytes));
  return parse(bytes, printable(path.native()));
}

}  // namespace llmc
