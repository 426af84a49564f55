// How checkpoints store numbers: rows of blocks, each block some bytes for some floats. The plain float
// types and those of GGUF (https://github.com/ggml-org/ggml, ggml-quants.c and docs/gguf.md; the layouts
// are written down in docs/MODEL.md). Constant; any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace llmc {

struct BlockFormat {
  const char* name;
  uint32_t floats;  // of one block
  uint32_t bytes;   // of one block
  // blocks * bytes bytes at `in` to blocks * floats floats.
  void (*decode)(const uint8_t* in, uint64_t blocks, float* out);
};

// By GGUF's number of the type; null where this version does not read it.
const BlockFormat* gguf_format(uint32_t type);
// The name that GGUF gives to a number, for messages; "type N" where it is none that we know.
std::string_view gguf_type_name(uint32_t type);

extern const BlockFormat kFormatF32, kFormatF16, kFormatBf16;

}  // namespace llmc
