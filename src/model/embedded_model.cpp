#include "model/embedded_model.h"

// The assembler copies the file into read-only data; nothing is decoded or copied at run time.
asm(R"(
  .pushsection .rodata
  .balign 64
  .globl llmc_embedded_model_begin
  .hidden llmc_embedded_model_begin
llmc_embedded_model_begin:
  .incbin ")" LLMC_EMBEDDED_MODEL R"("
  .globl llmc_embedded_model_end
  .hidden llmc_embedded_model_end
llmc_embedded_model_end:
  .byte 0
  .popsection
)");

extern "C" {
extern const uint8_t llmc_embedded_model_begin[];
extern const uint8_t llmc_embedded_model_end[];
}

namespace llmc {

Result<std::shared_ptr<const Model>> embedded_model() {
  static const Result<std::shared_ptr<const Model>> model = [] {
    const ByteView bytes(llmc_embedded_model_begin, llmc_embedded_model_end);
    Result<std::shared_ptr<const Model>> read = Model::from_bytes(bytes, nullptr);
    return read.ok() ? read : Result<std::shared_ptr<const Model>>(read.status().with("the built-in model"));
  }();
  return model;
}

}  // namespace llmc
