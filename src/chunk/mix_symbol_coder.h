// The mix codec's coders, and the memory that they work in.
#pragma once

#include <memory>
#include <vector>

#include "chunk/symbol_coder.h"
#include "coder/mix_coder.h"

namespace llmc {

// A tree, made once, and predictors that go from one chunk to the next: as many as chunks
// were under way at once. A coder gives its predictor back when it ends.
class MixMemory {
 public:
  explicit MixMemory(const Tokenizer& tokenizer);

  const MixTree& tree() const { return tree_; }
  std::unique_ptr<MixModel> take();
  void give_back(std::unique_ptr<MixModel> model) { free_.push_back(std::move(model)); }

 private:
  MixTree tree_;
  std::vector<std::unique_ptr<MixModel>> free_;
};

// The tree over a vocabulary, the escape included where there is one.
MixTree mix_tree_of(const Tokenizer& tokenizer);

// codec: mix, primed or dictionary.
std::unique_ptr<SymbolEncoder> make_mix_encoder(Codec codec, const Tokenizer& tokenizer, size_t text_bytes, const MixStart& start,
                                                MixMemory& memory);
std::unique_ptr<SymbolDecoder> make_mix_decoder(Codec codec, const Tokenizer& tokenizer, size_t text_bytes, const MixStart& start,
                                                MixMemory& memory, ByteView payload);

}  // namespace llmc
