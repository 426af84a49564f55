// The predictor of the mix codec: what a language model says of a binary decision, mixed
// with what the text before it says. Integers throughout; docs/MIX.md is its specification.
//
// In the line of M. Mahoney's PAQ and lpaq: adaptive chances under hashed contexts, weighed by
// gated logistic mixing in two layers (Mattern, "Mixing strategies in data compression", 2012),
// refined at the end by adaptive maps. What is new here is that contexts keep whole tokens: the
// counts of a context at a node of the tree are those of the tokens below it, so that a context
// costs one look-up a token.
//
// Call order for one token: begin(); for each level chance() + update(), or go_left() where
// nothing is coded; then end(). Coder and decoder make the same calls. One object serves one
// stream; all its memory stays for the next. One thread at a time.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "coder/mix_array.h"
#include "coder/mix_history.h"
#include "coder/mix_tables.h"
#include "coder/mix_tree.h"

namespace llmc {

class MixModel {
 public:
  static constexpr int inputs = 40;
  static constexpr int sets = 6;
  static constexpr int slot_contexts = 4;
  static constexpr int last_sets = 2;
  static constexpr int refinements = 2;

  // The tree must outlive the model. No memory is taken before reset().
  explicit MixModel(const MixTree& tree);

  // To the state in which every chunk begins. Memory: 64 bytes per byte of text (rounded up to a
  // power of two, at least 4 KiB and at most 4 MiB) and 3.1 MiB, 7.2 MiB for chunks of 64 KiB;
  // 2 to 4 bytes more per byte of text for matches and tokens. std::bad_alloc where there is none.
  void reset(size_t text_bytes);
  // To the state of another one, between two tokens, over an equal tree. Takes as long as that is large: 0.3 ms for 10 MiB.
  void copy(const MixModel& other);

  void begin();
  // The chance of the right side, given the language model's; both in 1 / 2^31, never 0 or 1.
  uint32_t chance(uint32_t model_chance);
  void update(bool right);
  void go_left() { descend(false); }
  void end(uint32_t leaf);

  size_t memory() const;

  // For measuring what a part is worth; nothing is stored so. Inputs of a part are 0; sets of
  // weights and refinements lose their contexts. See mix_parts().
  void leave_out(int part) { left_out_ = part; }

 private:
  struct Slot {
    uint16_t chance = 32768;
    uint8_t recent = 1;  // the last decisions, up to seven, below a leading one
    uint8_t seen = 0;
  };
  struct Bucket {
    std::array<Slot, 16> slots;  // [0].chance is the check; the others a heap of four levels
  };
  struct List {
    uint32_t check = 0;
    std::array<uint32_t, 7> entries = {};  // leaf << 8 | count, the latest first; 0: none
  };
  struct LastRow {
    std::array<int32_t, sets + 1> weights;  // of the sets, then of the language model
    int32_t seen;
  };
  static constexpr uint32_t none = ~0u;

  uint32_t mid() const;
  List& find_list(uint32_t context);
  Bucket& find_bucket(uint32_t context);
  void fetch_contexts();
  bool agreed() const;
  void input_model();
  void input_lists();
  void input_slots();
  void input_matches();
  void silence();
  void select();
  int32_t mix();
  uint32_t refine(int32_t mixed);
  void learn_weights(bool right);
  void descend(bool right);

  const MixTree& tree_;
  const MixTables& tables_;
  MixHistory history_;
  int left_out_ = -1;

  // Contexts.
  MixArray<List> lists_;
  MixArray<Bucket> buckets_;
  // Chances by what a context has seen; the second kind by what the language model says too.
  std::array<std::vector<MixChance>, mix_lists> list_chances_, list_model_chances_;
  std::array<std::vector<MixChance>, slot_contexts> slot_model_chances_;
  std::array<std::vector<MixChance>, mix_matches> match_chances_, match_model_chances_;
  std::vector<MixChance> model_chances_;
  std::array<std::vector<MixChance>, refinements> final_chances_;
  // Weights: rows of `inputs` for each set, in 1 / 2^16.
  MixArray<int32_t> weights_;
  std::vector<uint16_t> row_seen_;
  std::array<std::vector<LastRow>, last_sets> last_rows_;

  // The token under way.
  std::array<uint32_t, mix_lists> list_hashes_;
  std::array<uint32_t, slot_contexts> slot_hashes_;
  std::array<List*, mix_lists> token_lists_;
  // Each list as it was found, less what is not below the node: eight places, the first of them empty.
  alignas(64) std::array<uint32_t, 8 * mix_lists> alive_;
  std::array<Bucket*, slot_contexts> token_buckets_;
  std::array<int64_t, mix_matches> expected_;  // a leaf, or -1
  uint32_t node_ = 1;                          // heap number: 1 is the root
  int depth_ = 0;
  int loaded_ = -1;  // the group of four levels whose buckets are held

  // The decision under way.
  bool skipped_ = false;                   // nobody doubts it: neither mixed nor learned
  std::array<uint32_t, mix_lists> sides_;  // counts alive << 16 | counts alive on the right
  alignas(64) std::array<int32_t, inputs> x_;
  int32_t model_x_ = 0;  // stretch of the language model's chance
  int model_bucket_ = 0;
  int match_state_ = 0;
  std::array<uint32_t, sets> rows_;
  std::array<int32_t, sets> dots_;
  std::array<uint32_t, sets> set_chances_;
  std::array<LastRow*, last_sets> used_last_;
  std::array<uint32_t, last_sets> last_chances_;
  std::array<MixChance*, mix_lists> used_list_, used_list_model_;
  std::array<MixChance*, slot_contexts> used_slot_model_;
  std::array<Slot*, slot_contexts> used_slot_;
  std::array<MixChance*, mix_matches> used_match_, used_match_model_;
  MixChance* used_model_ = nullptr;
  std::array<MixChance*, refinements> used_final_;
};

// Names of what leave_out() takes, by number.
const std::vector<const char*>& mix_parts();

}  // namespace llmc
