#include "tokens/bpe.h"

#include <algorithm>
#include <functional>

namespace llmc {

Result<Bpe> Bpe::build(const TokenizerDefinition& definition) {
  Bpe bpe;
  const auto& tokens = definition.tokens;
  const auto vocab = static_cast<int32_t>(tokens.size());
  for (int b = 0; b < 256; ++b) bpe.byte_symbol_[b] = vocab + b;
  bpe.offsets_.reserve(tokens.size() + 1);
  bpe.offsets_.push_back(0);
  for (int32_t id = 0; id < vocab; ++id) {
    const Bytes& token = tokens[id];
    bpe.blob_.insert(bpe.blob_.end(), token.begin(), token.end());
    bpe.offsets_.push_back(static_cast<uint32_t>(bpe.blob_.size()));
    bpe.longest_ = std::max(bpe.longest_, token.size());
    if (token.size() == 1 && !definition.characters) bpe.byte_symbol_[token[0]] = id;
  }
  bpe.characters_ = definition.characters;
  for (int b = 0; b < 256 && definition.characters; ++b) {
    if (definition.byte_tokens[b] >= 0) bpe.byte_symbol_[b] = definition.byte_tokens[b];
  }
  const Status collisions(Code::model, "tokenizer.json: model.vocab or model.merges has too many hash collisions");
  bpe.pairs_ = PairTable(definition.merges.size());
  uint32_t rank = 0;
  for (size_t i = 0; i < definition.merges.size(); ++i) {
    const auto& m = definition.merges[i];
    const bool same = definition.ranks_by_token && i > 0 && definition.merges[i - 1].made == m.made;
    if (!same) rank = static_cast<uint32_t>(i);
    if (!bpe.pairs_.insert(m.left, m.right, rank, m.made)) return collisions;
  }
  if (definition.characters) {
    bpe.character_ = BytesTable(tokens.size());
    for (int32_t id = 0; id < vocab; ++id) {
      const ByteView token = bpe.bytes_of(id);
      if (token.empty() || character_bytes(token.data(), token.data() + token.size()) != token.size()) continue;
      if (bpe.byte_symbol_[token[0]] == id) continue;  // the token of a byte is no character
      if (!bpe.character_.insert(token, id)) return collisions;
    }
  }
  BytesTable whole(tokens.size());
  std::vector<int32_t> symbols;
  for (int32_t id = 0; id < vocab; ++id) {
    const ByteView token = bpe.bytes_of(id);
    if (token.empty()) continue;
    if (!definition.ignore_merges) {
      symbols.clear();
      bpe.merge(token, &symbols);
      if (symbols.size() != 1 || symbols[0] != id) continue;
    }
    if (!whole.insert(token, id)) return collisions;
  }
  bpe.whole_ = std::move(whole);
  return bpe;
}

void Bpe::encode(ByteView piece, std::vector<int32_t>* out) const {
  if (piece.size() == 1 && !characters_) {
    out->push_back(byte_symbol_[piece[0]]);
    return;
  }
  if (piece.size() <= longest_) {
    if (const int32_t id = whole_.find(piece); id >= 0) {
      out->push_back(id);
      return;
    }
  }
  for (; piece.size() > kMaxPiece; piece = piece.subspan(kMaxPiece)) merge(piece.first(kMaxPiece), out);
  merge(piece, out);
}

void Bpe::start(ByteView piece, std::vector<int32_t>* out) const {
  if (!characters_) {
    for (const uint8_t byte : piece) out->push_back(byte_symbol_[byte]);
    return;
  }
  const uint8_t* const end = piece.data() + piece.size();
  for (const uint8_t* p = piece.data(); p != end;) {
    const size_t length = character_bytes(p, end);
    const int32_t id = character_.find({p, length});
    if (id >= 0) {
      out->push_back(id);
    } else {
      for (size_t i = 0; i < length; ++i) out->push_back(byte_symbol_[p[i]]);
    }
    p += length;
  }
}

void Bpe::merge(ByteView piece, std::vector<int32_t>* out) const {
  const size_t first = out->size();
  start(piece, out);
  if (out->size() - first <= kShort) {
    merge_short(first, out);
  } else {
    merge_long(first, out);
  }
}

// Quadratic, but over a few cache lines: faster than a heap for words.
void Bpe::merge_short(size_t first, std::vector<int32_t>* symbols) const {
  int32_t* const ids = symbols->data() + first;
  int32_t made[kShort];    // of the pair (i, i + 1)
  uint32_t ranks[kShort];  // likewise
  int n = static_cast<int>(symbols->size() - first);
  const auto look_up = [&](int i) {
    const PairTable::Slot& slot = pairs_.find(ids[i], ids[i + 1]);
    ranks[i] = slot.rank;
    made[i] = slot.made;
  };
  for (int i = 0; i + 1 < n; ++i) look_up(i);
  while (n > 1) {
    const int best = static_cast<int>(std::min_element(ranks, ranks + n - 1) - ranks);
    if (ranks[best] == PairTable::kNone) break;
    ids[best] = made[best];
    --n;
    for (int i = best + 1; i < n; ++i) ids[i] = ids[i + 1];
    for (int i = best + 1; i < n - 1; ++i) {
      ranks[i] = ranks[i + 1];
      made[i] = made[i + 1];
    }
    if (best > 0) look_up(best - 1);
    if (best < n - 1) look_up(best);
  }
  symbols->resize(first + n);
}

// A list of symbols and a heap of pairs, so that a megabyte without a space costs O(n log n).
void Bpe::merge_long(size_t first, std::vector<int32_t>* symbols) const {
  struct Node {
    int32_t id;
    int32_t made;   // of the pair (this, next)
    uint32_t rank;  // likewise; kNone for dead nodes
    uint32_t previous, next;
  };
  const auto n = static_cast<uint32_t>(symbols->size() - first);
  std::vector<Node> nodes(n);
  // rank << 32 | position, smallest first: of equal ranks the leftmost
  std::vector<uint64_t> heap;
  const auto look_up = [&](uint32_t i) {
    Node& node = nodes[i];
    node.rank = PairTable::kNone;
    if (node.next == n) return false;
    const PairTable::Slot& slot = pairs_.find(node.id, nodes[node.next].id);
    node.rank = slot.rank;
    node.made = slot.made;
    return slot.rank != PairTable::kNone;
  };
  const auto push = [&](uint32_t i) {
    if (!look_up(i)) return;
    heap.push_back(static_cast<uint64_t>(nodes[i].rank) << 32 | i);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  for (uint32_t i = 0; i < n; ++i) nodes[i] = {(*symbols)[first + i], -1, PairTable::kNone, i - 1, i + 1};
  for (uint32_t i = 0; i < n; ++i) {
    if (look_up(i)) heap.push_back(static_cast<uint64_t>(nodes[i].rank) << 32 | i);
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  while (!heap.empty()) {
    const uint64_t top = heap.front();
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    heap.pop_back();
    const auto at = static_cast<uint32_t>(top);
    Node& node = nodes[at];
    if (node.rank != top >> 32) continue;  // the pair has changed since
    node.id = node.made;
    nodes[node.next].rank = PairTable::kNone;
    node.next = nodes[node.next].next;
    if (node.next != n) nodes[node.next].previous = at;
    if (at != 0) push(node.previous);
    push(at);
  }
  symbols->resize(first);
  for (uint32_t i = 0; i != n; i = nodes[i].next) symbols->push_back(nodes[i].id);
}

}  // namespace llmc
