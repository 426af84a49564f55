// Files that a set carries beside its shards, so that it can be read when this program is long gone:
// README.txt and, below decoder/, documents, the reference decoder, a copy of the model. The manifest
// lists them with their digests. They are copies: no reader needs them, none trusts them.
//
// What they are is decided by the caller (commands/companions.h). Functions of one thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/status.h"

namespace llmc {

struct Companion {
  std::string name;  // README.txt or decoder/NAME
  ByteView bytes;    // kept alive by `owner`, or for ever
  std::shared_ptr<const void> owner;
};

struct SetFacts {
  uint64_t entries = 0, text_bytes = 0, shards = 0;
  uint64_t set_bytes = 0;  // of its shard and parity files
  Digest model{};
  bool copied_model = false;  // what is appended to has one
};

// Made when the set is about to be committed. A function of its arguments alone, so that a repeated run writes the
// same bytes.
using MakeCompanions = std::function<Result<std::vector<Companion>>(const SetFacts& facts)>;
inline constexpr const char* model_companion = "decoder/model.safetensors";

// How the manifest names one.
struct ManifestCompanion {
  std::string file;
  uint64_t bytes = 0;
  Digest sha256{};
};

inline constexpr size_t max_companions = 1000;

// README.txt, or a name of letters, digits, '.', '_' and '-' below decoder/, not beginning with a dot.
bool is_companion_name(std::string_view name);
// Whether something of that name directly below a set's folder is ours: decoder/, or a README.txt that
// begins as ours does.
bool is_companion_path(const std::filesystem::path& path);

// Writes them durably, each under a temporary name first.
Result<std::vector<ManifestCompanion>> write_companions(const std::filesystem::path& set,
                                                        const std::vector<Companion>& companions);
// Removes what the manifest of the set that stood there named; never anything else.
Status remove_companions(const std::filesystem::path& set, const std::vector<ManifestCompanion>& companions);
// One sentence for each that is missing or changed; and a Status where one cannot be read.
Result<std::vector<std::string>> check_companions(const std::filesystem::path& set,
                                                  const std::vector<ManifestCompanion>& companions);

}  // namespace llmc
