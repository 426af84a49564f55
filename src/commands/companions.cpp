#include "commands/companions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "build_info.h"
#include "commands/carried_files.h"

namespace llmc {
namespace {

// First words: see is_companion_path().
constexpr const char* readme = R"(This folder is an archive made by llmc-batch {version}.

It holds {entries} files, folders and links with {text} bytes of text, compressed with a language model,
in {shards} (shard-000000.h5 and so on; HDF5 files). manifest.json lists the shards, and with SHA-256
all files here. They can be checked with "sha256sum" alone.

To get everything back

  with llmc-batch:     llmc-batch extract THIS_FOLDER -o NEW_FOLDER
  with Python alone:   python3 decoder/decode.py . --files NEW_FOLDER

The second needs Python 3.9 or later, numpy, and either the module zstandard, Python 3.14, or the program zstd.
It is slow ({slow}), but it needs nothing that is not here, and it checks every checksum on its way.
"python3 decoder/decode.py --help" says more; --list shows what is inside, --document NAME takes one file.

To write another decoder

  decoder/FORMAT.md    every byte of these files, and how to recover what is left of damaged ones
  decoder/NUMERICS.md  the arithmetic: the same integers on every machine
  decoder/MODEL.md     the model file and the order of operations
  decoder/MIX.md       the codec "mix"
  decoder/decode.py    and the files beside it: all of that in Python

The model

  {model}

All in decoder/ but the model is under the Apache License 2.0 (decoder/LICENSE).
)";

std::string about_model(const SetFacts& facts, const Model* model, const std::string& left_out) {
  if (!model) return "None was used: all text is stored or compressed with zstd.";
  std::string text = fmt::format("{}, SHA-256 {},\n  licence: {}.\n  ", printable(model->name()), to_hex(facts.model),
                                 printable(model->license()));
  if (left_out.empty()) return text + fmt::format("It is {}.", model_companion);
  return text + fmt::format("It is not here, because {}. Keep a copy: WITHOUT THIS VERY FILE THE TEXT IS LOST.", left_out);
}

}  // namespace

bool license_allows_copies(const std::string& license) {
  static const char* const known[] = {"apache-2.0",   "mit",     "bsd-2-clause", "bsd-3-clause", "isc",          "0bsd",
                                      "unlicense",    "cc0-1.0", "cc-by-3.0",    "cc-by-4.0",    "cc-by-sa-3.0", "cc-by-sa-4.0",
                                      "cc-by-nc-4.0", "mpl-2.0", "gpl-2.0",      "gpl-3.0",      "lgpl-3.0",     "agpl-3.0",
                                      "zlib",         "wtfpl",   "odc-by",       "pddl"};
  std::string name = license;
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::find(std::begin(known), std::end(known), name) != std::end(known);
}

MakeCompanions make_companions(std::shared_ptr<const Model> model, ModelCopy copy) {
  return [model, copy](const SetFacts& facts) -> Result<std::vector<Companion>> {
    std::string left_out;
    if (model && copy == ModelCopy::when_small && !facts.copied_model) {
      if (!license_allows_copies(model->license())) {
        left_out = "its licence is not one that is known to allow that";
      } else if (model->bytes().size() > facts.set_bytes) {
        left_out = fmt::format("with {} bytes it is larger than the archive", model->bytes().size());
      }
    }
    auto text = std::make_shared<std::string>(fmt::format(
        readme, fmt::arg("version", LLMC_VERSION), fmt::arg("entries", facts.entries),
        fmt::arg("text", facts.text_bytes),
        fmt::arg("shards", facts.shards == 1 ? "one shard" : fmt::format("{} shards", facts.shards)),
        fmt::arg("slow", "about 1 KB of text a second with the smallest model"),
        fmt::arg("model", about_model(facts, model.get(), left_out))));
    std::vector<Companion> out;
    for (const CarriedFile& file : carried_files()) out.push_back({std::string("decoder/") + file.name, file.bytes, nullptr});
    if (model && left_out.empty()) out.push_back({model_companion, model->bytes(), model});
    out.push_back({"README.txt", as_bytes(*text), text});
    return out;
  };
}

}  // namespace llmc
