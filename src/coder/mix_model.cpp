#include "coder/mix_model.h"

#include <algorithm>
#include <bit>

#include "coder/mix_kernels.h"

namespace llmc {
namespace {

// The rows of each set: see select().
constexpr uint32_t set_rows[MixModel::sets] = {64, 512, 2048, 1024, 2048};
constexpr uint32_t final_contexts = 1 << 13;
constexpr int model_buckets = 16;
constexpr int model_thresholds[model_buckets - 1] = {-11264, -7680, -5632, -3840, -2560, -1536, -768, 0,
                                                     768,    1536,  2560,  3840,  5632,  7680,  11264};
constexpr int model_centres[model_buckets] = {-14336, -9216, -6656, -4608, -3072, -2048, -1200, -400,
                                              400,    1200,  2048,  3072,  4608,  6656,  9216,  14336};
constexpr uint32_t list_states = 256;  // three for the latest token, eight counts each way

constexpr uint32_t list_limit = 255, slot_limit = 255, match_limit = 400, model_limit = 1000, final_limit = 255;
constexpr uint32_t slot_seen_limit = 60;

int bucket_of(int32_t x) {
  int b = 0;
  for (const int t : model_thresholds) b += x >= t;
  return b;
}

uint32_t count_class(uint32_t n) { return n < 4 ? n : n < 6 ? 4 : n < 9 ? 5 : n < 16 ? 6 : 7; }

// Where a chance of 33 knots is read: between knot `low` and the next, `part` of the step on.
struct Knot {
  int low;
  int part;
  int nearest() const { return low + (part > mix_knot_step / 2); }
};
Knot knot_of(int32_t x) {
  const int y = x + mix_most;
  const int low = std::min(y / mix_knot_step, mix_knots - 2);
  return {low, y - low * mix_knot_step};
}
uint32_t read_knots(const MixChance* row, const Knot& knot) {  // 22 bits
  const auto part = static_cast<uint64_t>(knot.part);
  return static_cast<uint32_t>((row[knot.low].chance22() * (mix_knot_step - part) + row[knot.low + 1].chance22() * part) /
                               mix_knot_step);
}

}  // namespace

MixModel::MixModel(const MixTree& tree) : tree_(tree), tables_(MixTables::get()) {
  uint32_t rows = 0;
  for (int s = 0; s < sets; ++s) {
    set_begin_[s] = rows;
    rows += set_rows[s];
  }
}

void MixModel::reset(size_t text_bytes) {
  const size_t size = std::bit_ceil(std::clamp<size_t>(text_bytes, 1 << 12, 1 << 22));
  lists_.reset(size);
  buckets_.reset(size / 2);
  history_.reset(text_bytes);

  const auto by_model = [&](std::vector<MixChance>& chances, size_t contexts) {
    chances.resize(contexts * model_buckets);
    for (size_t i = 0; i < chances.size(); ++i) {
      chances[i] = MixChance(tables_.squash(model_centres[i % model_buckets]) >> 9, 4);
    }
  };
  const auto knots = [&](std::vector<MixChance>& chances, size_t contexts, uint32_t seen) {
    chances.resize(contexts * mix_knots);
    for (int k = 0; k < mix_knots; ++k) chances[k] = MixChance(tables_.squash(k * mix_knot_step - mix_most) >> 9, seen);
    for (size_t i = mix_knots; i < chances.size(); ++i) chances[i] = chances[i - mix_knots];
  };
  constexpr uint32_t twentieths[8] = {0, 20, 40, 60, 90, 140, 240, 500};  // of counts
  for (int i = 0; i < mix_lists; ++i) {
    list_chances_[i].resize(3 * list_states);
    for (uint32_t s = 0; s < 3 * list_states; ++s) {
      const uint64_t left = twentieths[s >> 3 & 7], right = twentieths[s & 7];
      list_chances_[i][s] = MixChance(static_cast<uint32_t>((right + 3) * 4194303 / (left + right + 6)), 2);
    }
    by_model(list_model_chances_[i], list_states);
  }
  for (auto& chances : slot_model_chances_) by_model(chances, 256);
  for (int m = 0; m < mix_matches; ++m) {
    match_chances_[m].resize(128);
    for (uint32_t s = 0; s < 128; ++s) match_chances_[m][s] = MixChance(s & 1 ? 3774873 : 419430, 2);
    by_model(match_model_chances_[m], 128);
  }
  knots(model_chances_, static_cast<size_t>(std::max(tree_.depth(), 1)), 10);
  knots(final_chances_, final_contexts, 10);

  const uint32_t rows = set_begin_[sets - 1] + set_rows[sets - 1];
  weights_.assign(size_t{rows} * inputs, 1 << 11);
  for (uint32_t r = 0; r < rows; ++r) {
    weights_[size_t{r} * inputs] = 1 << 16;
    weights_[size_t{r} * inputs + 1] = 0;
  }
  row_seen_.assign(rows, 0);
  last_weights_.fill(1 << 13);
  last_weights_[sets] = 3 << 13;  // in all, what the language model says
}

size_t MixModel::memory() const {
  size_t bytes = lists_.size() * sizeof(List) + buckets_.size() * sizeof(Bucket) + weights_.size() * 4 +
                 row_seen_.size() * 2 + (model_chances_.size() + final_chances_.size()) * 4;
  const auto add = [&](const auto& arrays) {
    for (const auto& chances : arrays) bytes += chances.size() * 4;
  };
  add(list_chances_);
  add(list_model_chances_);
  add(slot_model_chances_);
  add(match_chances_);
  add(match_model_chances_);
  return bytes + history_.memory();
}

uint32_t MixModel::mid() const {
  const int below = tree_.depth() - depth_;
  return (node_ << below) - (1u << tree_.depth()) + (1u << (below - 1));
}

MixModel::List& MixModel::find_list(uint32_t context) {
  const size_t at = context >> 8 & (lists_.size() - 1);
  const uint32_t check = context | 1;
  List& first = lists_[at];
  List& second = lists_[at ^ 1];
  if (first.check == check) return first;
  if (second.check == check) return second;
  const auto worth = [](const List& list) {
    return list.check == 0 ? 0 : (list.entries[0] & 255) + (list.entries[1] & 255) + 1;
  };
  List& list = worth(first) <= worth(second) ? first : second;
  list = {};
  list.check = check;
  return list;
}

MixModel::Bucket& MixModel::find_bucket(uint32_t context) {
  const size_t at = context >> 10 & (buckets_.size() - 1);
  const auto check = static_cast<uint16_t>((context & 0xFFFF) | 1);
  Bucket& first = buckets_[at];
  Bucket& second = buckets_[at ^ 1];
  if (first.slots[0].chance == check) return first;
  if (second.slots[0].chance == check) return second;
  Bucket& bucket = first.slots[1].seen <= second.slots[1].seen ? first : second;
  bucket = {};
  bucket.slots[0].chance = check;
  return bucket;
}

void MixModel::begin() {
  node_ = 1;
  depth_ = 0;
  loaded_ = -1;
  const auto contexts = history_.list_contexts();
  // All look-ups first: one may take the place of a list found before it.
  for (int i = 0; i < mix_lists; ++i) token_lists_[i] = &find_list(contexts[i]);
  for (int i = 0; i < mix_lists; ++i) {
    Alive& alive = alive_[i];
    const List& list = *token_lists_[i];
    alive.count = 0;
    while (alive.count < 7 && list.entries[alive.count] != 0) {
      alive.entries[alive.count] = list.entries[alive.count];
      ++alive.count;
    }
    alive.latest = alive.count > 0;
  }
  slot_hashes_ = {mix_hash(77, 0), mix_hash(history_.last(1), 78), mix_hash(history_.word(), 81),
                  mix_hash(static_cast<uint32_t>(history_.shape()), 82)};
  for (int m = 0; m < mix_matches; ++m) {
    expected_[m] = history_.match(m).length > 0 ? static_cast<int64_t>(history_.expected(m)) : -1;
  }
}

uint32_t MixModel::chance(uint32_t model_chance) {
  input_model(model_chance);
  input_lists();
  input_slots();
  input_matches();
  select();
  mix_kernels().dots(weights_.data(), rows_.data(), x_.data(), dots_.data());
  int64_t sum = static_cast<int64_t>(last_weights_[sets]) * model_x_;
  for (int s = 0; s < sets; ++s) {
    set_chances_[s] = tables_.squash(dots_[s]);
    sum += static_cast<int64_t>(last_weights_[s]) * dots_[s];
  }
  const auto mixed = static_cast<int32_t>(std::clamp<int64_t>(sum >> 16, -mix_most, mix_most));
  mixed_ = tables_.squash(mixed);
  return refine(mixed_, mixed);
}

void MixModel::input_model(uint32_t model_chance) {
  model_x_ = tables_.stretch(model_chance);
  model_bucket_ = bucket_of(model_x_);
  const Knot knot = knot_of(model_x_);
  MixChance* row = model_chances_.data() + static_cast<size_t>(depth_) * mix_knots;
  used_model_ = row + knot.nearest();
  x_[0] = model_x_;
  x_[1] = tables_.stretch12(read_knots(row, knot) >> 10);
}

void MixModel::input_lists() {
  const uint32_t middle = mid();
  const uint32_t level = depth_ < 4 ? 0 : depth_ < 8 ? 1 : 2;
  for (int i = 0; i < mix_lists; ++i) {
    const Alive& alive = alive_[i];
    int32_t* x = &x_[2 + 2 * i];
    if (alive.count == 0) {
      used_list_[i] = nullptr;
      x[0] = x[1] = 0;
      continue;
    }
    uint32_t counts[2] = {0, 0};
    for (int k = 0; k < alive.count; ++k) counts[alive.entries[k] >> 8 >= middle] += alive.entries[k] & 255;
    const uint32_t latest = !alive.latest ? 0 : alive.entries[0] >> 8 >= middle ? 2 : 1;
    const uint32_t state = count_class(counts[0]) * 8 + count_class(counts[1]) + 64 * latest;
    used_list_[i] = &list_chances_[i][level * list_states + state];
    used_list_model_[i] = &list_model_chances_[i][state * model_buckets + model_bucket_];
    x[0] = tables_.stretch12(used_list_[i]->chance12());
    x[1] = tables_.stretch12(used_list_model_[i]->chance12()) - model_centres[model_bucket_];
  }
}

void MixModel::input_slots() {
  const int level = depth_ % 4;
  if (loaded_ != depth_ / 4) {
    loaded_ = depth_ / 4;
    for (int i = 0; i < slot_contexts; ++i) {
      token_buckets_[i] = &find_bucket(mix_hash(slot_hashes_[i], (node_ >> level) * 16777619u));
    }
  }
  const uint32_t at = 1u << level | (node_ & ((1u << level) - 1));
  for (int i = 0; i < slot_contexts; ++i) {
    Slot& slot = token_buckets_[i]->slots[at];
    int32_t* x = &x_[2 + 2 * mix_lists + 2 * i];
    used_slot_[i] = &slot;
    if (slot.seen == 0) {
      used_slot_model_[i] = nullptr;
      x[0] = x[1] = 0;
      continue;
    }
    used_slot_model_[i] = &slot_model_chances_[i][slot.recent * model_buckets + model_bucket_];
    x[0] = tables_.stretch12(slot.chance >> 4);
    x[1] = tables_.stretch12(used_slot_model_[i]->chance12()) - model_centres[model_bucket_];
  }
}

void MixModel::input_matches() {
  const uint32_t middle = mid();
  match_state_ = 0;
  for (int m = 0; m < mix_matches; ++m) {
    int32_t* x = &x_[2 + 2 * mix_lists + 2 * slot_contexts + 2 * m];
    if (expected_[m] < 0) {
      used_match_[m] = nullptr;
      x[0] = x[1] = 0;
      continue;
    }
    const MixMatch& match = history_.match(m);
    const uint32_t right = expected_[m] >= middle;
    const uint32_t length = std::min(match.length, 31u);
    const uint32_t length_class = length < 16 ? length : 16 + (length - 16) / 4;
    const uint32_t state = (length_class + (match.missed ? 32 : 0)) * 2 + right;
    used_match_[m] = &match_chances_[m][state];
    used_match_model_[m] = &match_model_chances_[m][state * model_buckets + model_bucket_];
    x[0] = tables_.stretch12(used_match_[m]->chance12());
    x[1] = tables_.stretch12(used_match_model_[m]->chance12()) - model_centres[model_bucket_];
    if (match_state_ == 0) {
      const int grade = match.missed || length < 4 ? 0 : length < 8 ? 1 : length < 16 ? 2 : length < 24 ? 3 : 4;
      match_state_ = 1 + grade * 2 + static_cast<int>(right) + 10 * m;
    }
  }
}

void MixModel::select() {
  const uint32_t way = node_ < 256 ? node_ : 256 + (static_cast<uint32_t>(depth_) - 8) * model_buckets + model_bucket_;
  rows_ = {set_begin_[0] + static_cast<uint32_t>(match_state_) * 2 + (model_bucket_ >= 8),
           set_begin_[1] + way,
           set_begin_[2] + history_.last(1) % 2048,
           set_begin_[3] + mix_hash(static_cast<uint32_t>(history_.shape()) & 0xFFFF, 0) % 1024,
           set_begin_[4] + history_.last(2) % 2048};
}

uint32_t MixModel::refine(uint32_t chance, int32_t mixed) {
  const uint32_t context = mix_hash(static_cast<uint32_t>(history_.shape()) & 0xFFFF, node_) % final_contexts;
  MixChance* row = final_chances_.data() + static_cast<size_t>(context) * mix_knots;
  const Knot knot = knot_of(mixed);
  used_final_ = row + knot.nearest();
  const uint32_t refined = read_knots(row, knot) << 9;
  return std::clamp<uint32_t>((chance + refined) >> 1, 64, (1u << 31) - 64);
}

void MixModel::update(bool right) {
  std::array<int32_t, sets> errors;
  const int64_t truth = right ? int64_t{1} << 31 : 0;
  for (int s = 0; s < sets; ++s) {
    uint16_t& seen = row_seen_[rows_[s]];
    const int32_t pace = 16 + 112 * 128 / (128 + seen);
    if (seen < 16383) ++seen;
    errors[s] = static_cast<int32_t>((truth - set_chances_[s]) >> 15) * pace >> 8;
  }
  mix_kernels().train(weights_.data(), rows_.data(), x_.data(), errors.data());
  const int32_t error = static_cast<int32_t>((truth - mixed_) >> 15) >> 6;
  for (int s = 0; s <= sets; ++s) {
    const int32_t x = s < sets ? dots_[s] : model_x_;
    last_weights_[s] = std::clamp(last_weights_[s] + ((x * error + 8192) >> 14), -mix_weight_most, mix_weight_most);
  }

  used_model_->update(right, model_limit, tables_);
  used_final_->update(right, final_limit, tables_);
  for (int i = 0; i < mix_lists; ++i) {
    if (!used_list_[i]) continue;
    used_list_[i]->update(right, list_limit, tables_);
    used_list_model_[i]->update(right, list_limit, tables_);
  }
  for (int i = 0; i < slot_contexts; ++i) {
    if (used_slot_model_[i]) used_slot_model_[i]->update(right, slot_limit, tables_);
    Slot& slot = *used_slot_[i];
    const int32_t gap = (right ? 65535 : 0) - static_cast<int32_t>(slot.chance);
    slot.chance = static_cast<uint16_t>(slot.chance + (static_cast<int64_t>(gap) * tables_.pace(slot.seen) >> 16));
    if (slot.seen < slot_seen_limit) ++slot.seen;
    const uint32_t recent = slot.recent * 2u + right;
    slot.recent = static_cast<uint8_t>(slot.recent < 128 ? recent : 128 | (recent & 127));
  }
  for (int m = 0; m < mix_matches; ++m) {
    if (!used_match_[m]) continue;
    used_match_[m]->update(right, match_limit, tables_);
    used_match_model_[m]->update(right, match_limit, tables_);
  }
  descend(right);
}

void MixModel::descend(bool right) {
  const uint32_t middle = mid();
  for (Alive& alive : alive_) {
    int kept = 0;
    if (alive.latest && (alive.entries[0] >> 8 >= middle) != right) alive.latest = false;
    for (int k = 0; k < alive.count; ++k) {
      const uint32_t entry = alive.entries[k];
      alive.entries[kept] = entry;
      kept += (entry >> 8 >= middle) == right;
    }
    alive.count = kept;
  }
  for (int64_t& leaf : expected_) {
    if (leaf >= 0 && (leaf >= middle) != right) leaf = -1;
  }
  node_ = 2 * node_ + right;
  ++depth_;
}

void MixModel::end(uint32_t leaf) {
  for (List* list : token_lists_) {
    auto& entries = list->entries;
    size_t k = 0;
    while (k + 1 < entries.size() && entries[k] != 0 && entries[k] >> 8 != leaf) ++k;
    uint32_t entry = leaf << 8 | 1;
    if (entries[k] != 0 && entries[k] >> 8 == leaf) entry = entries[k] + ((entries[k] & 255) < 255);
    for (; k > 0; --k) entries[k] = entries[k - 1];
    entries[0] = entry;
  }
  history_.append(leaf, tree_.text(leaf));
}

}  // namespace llmc
