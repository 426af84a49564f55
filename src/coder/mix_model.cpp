#include "coder/mix_model.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "coder/mix_kernels.h"

namespace llmc {
namespace {

static_assert(mix_lists % 4 == 0 && MixModel::inputs % 8 == 0);
constexpr int first_list = 2, first_slot = first_list + 2 * mix_lists;
constexpr int first_match = first_slot + 2 * MixModel::slot_contexts, bias = first_match + 2 * mix_matches;
static_assert(bias < MixModel::inputs);

// Rows of each set and of each last set: see select() and mix().
constexpr uint32_t set_rows[MixModel::sets] = {64, 512, 1024, 256, 512, 1024};
constexpr uint32_t last_rows[MixModel::last_sets] = {1024, 64};
constexpr uint32_t final_contexts = 1 << 12;
constexpr uint32_t list_states = 192;  // three for the latest token, eight counts each way

constexpr uint32_t chance_limit = 255, match_limit = 400, long_limit = 1000;
constexpr uint32_t slot_seen_limit = 60;
constexpr uint32_t seen_limit = 16383;  // of rows of weights
constexpr int32_t sure = 11 * mix_unit;

// What the language model says, in 16 steps. Thresholds are multiples of 256.
constexpr int model_buckets = 16;
constexpr int model_thresholds[model_buckets - 1] = {-11264, -7680, -5632, -3840, -2560, -1536, -768, 0,
                                                     768,    1536,  2560,  3840,  5632,  7680,  11264};
constexpr int model_centres[model_buckets] = {-14336, -9216, -6656, -4608, -3072, -2048, -1200, -400,
                                              400,    1200,  2048,  3072,  4608,  6656,  9216,  14336};
struct BucketTable {
  uint8_t of[2 * mix_most / 256 + 1] = {};
  constexpr BucketTable() {
    for (int i = 0; i <= 2 * mix_most / 256; ++i) {
      for (const int t : model_thresholds) of[i] += i * 256 - mix_most >= t;
    }
  }
};
constexpr BucketTable bucket_table;
int bucket_of(int32_t x) { return bucket_table.of[(x + mix_most) >> 8]; }

// Counts in eight classes; a list counts to 7 * 255.
struct ClassTable {
  uint8_t of[1792] = {};
  constexpr ClassTable() {
    for (int n = 0; n < 1792; ++n) of[n] = static_cast<uint8_t>(n < 4 ? n : n < 6 ? 4 : n < 9 ? 5 : n < 16 ? 6 : 7);
  }
};
constexpr ClassTable class_table;

// Where a chance of knots is read: between knot `low` and the next, `part` of the step on.
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

const std::vector<const char*>& mix_parts() {
  static const std::vector<const char*> names = {
      "list t1-2", "list t1-3", "list t1-6", "list word", "list words", "list shape", "list key, t1", "list above, t1",
      "list first, column", "list field, t1", "list field, above", "list above 2, word",
      "slots order 0", "slots t1", "slots word", "slots shape", "match 8", "match 2", "model by depth",
      "weights by match", "weights by node", "weights by t1", "weights by shape", "weights by t2", "weights by field",
      "last by node", "last by shape", "refined by shape", "refined by field", "skipping"};
  return names;
}

MixModel::MixModel(const MixTree& tree) : tree_(tree), tables_(MixTables::get()) {}

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
  const auto knots = [&](std::vector<MixChance>& chances, size_t contexts) {
    chances.resize(contexts * mix_knots);
    for (int k = 0; k < mix_knots; ++k) chances[k] = MixChance(tables_.squash(k * mix_knot_step - mix_most) >> 9, 10);
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
  knots(model_chances_, static_cast<size_t>(std::max(tree_.depth(), 1)));
  for (auto& chances : final_chances_) knots(chances, final_contexts);

  uint32_t rows = 0;
  for (const uint32_t n : set_rows) rows += n;
  weights_.reset(size_t{rows} * inputs);
  for (size_t i = 0; i < weights_.size(); ++i) weights_[i] = 2500;
  for (uint32_t r = 0; r < rows; ++r) {
    weights_[size_t{r} * inputs] = 1 << 16;  // at first, what the language model says
    weights_[size_t{r} * inputs + 1] = 0;
  }
  row_seen_.assign(rows, 0);
  for (int l = 0; l < last_sets; ++l) {
    LastRow row{};
    row.weights.fill((1 << 16) / sets);
    row.weights[sets] = 0;
    last_rows_[l].assign(last_rows[l], row);
  }
  x_.fill(0);
  fetch_contexts();
}

void MixModel::copy(const MixModel& other) {
  lists_.copy(other.lists_);
  buckets_.copy(other.buckets_);
  history_.copy(other.history_);
  list_chances_ = other.list_chances_;
  list_model_chances_ = other.list_model_chances_;
  slot_model_chances_ = other.slot_model_chances_;
  match_chances_ = other.match_chances_;
  match_model_chances_ = other.match_model_chances_;
  model_chances_ = other.model_chances_;
  final_chances_ = other.final_chances_;
  weights_.copy(other.weights_);
  row_seen_ = other.row_seen_;
  last_rows_ = other.last_rows_;
  x_ = other.x_;
  fetch_contexts();
}

size_t MixModel::memory() const {
  size_t bytes = lists_.size() * sizeof(List) + buckets_.size() * sizeof(Bucket) + weights_.size() * 4 + row_seen_.size() * 2;
  const auto add = [&](const auto& arrays) {
    for (const auto& v : arrays) bytes += v.size() * sizeof(v[0]);
  };
  add(std::array{model_chances_});
  add(final_chances_);
  add(list_chances_);
  add(list_model_chances_);
  add(slot_model_chances_);
  add(match_chances_);
  add(match_model_chances_);
  add(last_rows_);
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

// Those of the next token, so that memory is on its way while the language model computes.
void MixModel::fetch_contexts() {
  list_hashes_ = history_.list_contexts();
  slot_hashes_ = {mix_hash(12, 0), mix_hash(history_.last(1), 13), mix_hash(history_.word(), 14),
                  mix_hash(static_cast<uint32_t>(history_.shape()), 15)};
  for (const uint32_t context : list_hashes_) __builtin_prefetch(&lists_[context >> 8 & (lists_.size() - 1)]);
}

void MixModel::begin() {
  node_ = 1;
  depth_ = 0;
  loaded_ = -1;
  // All look-ups first: one may take the place of a list found before it.
  for (int i = 0; i < mix_lists; ++i) token_lists_[i] = &find_list(list_hashes_[i]);
  for (int i = 0; i < mix_lists; ++i) {
    alive_[8 * i] = 0;
    std::memcpy(&alive_[8 * i + 1], token_lists_[i]->entries.data(), sizeof(List::entries));
  }
  for (int m = 0; m < mix_matches; ++m) {
    expected_[m] = history_.match(m).length > 0 ? static_cast<int64_t>(history_.expected(m)) : -1;
  }
}

uint32_t MixModel::chance(uint32_t model_chance) {
  model_x_ = tables_.stretch(model_chance);
  mix_kernels().sides(alive_.data(), mix_lists / 4, mid() << 8, sides_.data());
  skipped_ = agreed();
  if (skipped_) return std::clamp<uint32_t>(model_chance, 64, (1u << 31) - 64);
  input_model();
  input_lists();
  input_slots();
  input_matches();
  x_[bias] = mix_unit;
  if (left_out_ >= 0) silence();
  select();
  return refine(mix());
}

// The language model is sure, and nothing that was seen here speaks against it: such decisions, a third
// of all in some texts, would only teach the weights to shout.
bool MixModel::agreed() const {
  if ((model_x_ < sure && model_x_ > -sure) || left_out_ == 29) return false;
  const bool right = model_x_ > 0;
  for (const uint32_t sides : sides_) {
    if ((sides & 0xFFFF) != (right ? sides >> 16 : 0)) return false;
  }
  const uint32_t middle = mid();
  for (const int64_t leaf : expected_) {
    if (leaf >= 0 && (leaf >= middle) != right) return false;
  }
  return true;
}

void MixModel::input_model() {
  model_bucket_ = bucket_of(model_x_);
  const Knot knot = knot_of(model_x_);
  MixChance* row = model_chances_.data() + static_cast<size_t>(depth_) * mix_knots;
  used_model_ = row + knot.nearest();
  x_[0] = model_x_;
  x_[1] = tables_.stretch12(read_knots(row, knot) >> 10);
}

void MixModel::input_lists() {
  const uint32_t bound = mid() << 8;
  const uint32_t level = depth_ < 4 ? 0 : depth_ < 8 ? 1 : 2;
  const int32_t centre = model_centres[model_bucket_];
  for (int i = 0; i < mix_lists; ++i) {
    const uint32_t sides = sides_[i];
    int32_t* x = &x_[first_list + 2 * i];
    if (sides == 0) {
      used_list_[i] = nullptr;
      x[0] = x[1] = 0;
      continue;
    }
    const uint32_t right = sides & 0xFFFF, left = (sides >> 16) - right;
    const uint32_t latest = alive_[8 * i + 1];
    const uint32_t state = class_table.of[left] * 8 + class_table.of[right] + (latest == 0 ? 0 : latest < bound ? 64 : 128);
    used_list_[i] = &list_chances_[i][level * list_states + state];
    used_list_model_[i] = &list_model_chances_[i][state * model_buckets + model_bucket_];
    x[0] = tables_.stretch12(used_list_[i]->chance12());
    x[1] = tables_.stretch12(used_list_model_[i]->chance12()) - centre;
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
    int32_t* x = &x_[first_slot + 2 * i];
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
    int32_t* x = &x_[first_match + 2 * m];
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

// For leave_out(): parts 0 to 18 are inputs.
void MixModel::silence() {
  if (left_out_ < 18) x_[first_list + 2 * left_out_] = x_[first_list + 2 * left_out_ + 1] = 0;
  if (left_out_ == 18) x_[1] = 0;
}

void MixModel::select() {
  const auto shape = static_cast<uint32_t>(history_.shape()) & 0xFFFF;
  const auto depth = static_cast<uint32_t>(depth_);
  const uint32_t way = node_ < 256 ? node_ : 256 + (depth - 8) * model_buckets + static_cast<uint32_t>(model_bucket_);
  rows_ = {static_cast<uint32_t>(match_state_) * 2 + (model_bucket_ >= 8),
           way,
           history_.last(1),
           mix_hash(shape, 0),
           history_.last(2),
           16 * history_.field() + depth};
  uint32_t first = 0;
  for (int s = 0; s < sets; ++s) {
    rows_[s] = first + (left_out_ == 19 + s ? 0 : rows_[s] % set_rows[s]);
    first += set_rows[s];
  }
}

int32_t MixModel::mix() {
  mix_kernels().dots(&weights_[0], rows_.data(), x_.data(), dots_.data());
  for (int s = 0; s < sets; ++s) set_chances_[s] = tables_.squash(dots_[s]);
  const std::array<uint32_t, last_sets> at = {node_ < 1024 ? node_ : 0,
                                              mix_hash(static_cast<uint32_t>(history_.shape()) & 0xFF, 9) % 64};
  int32_t both = 0;
  for (int l = 0; l < last_sets; ++l) {
    LastRow& row = last_rows_[l][left_out_ == 25 + l ? 0 : at[l]];
    used_last_[l] = &row;
    int64_t sum = static_cast<int64_t>(row.weights[sets]) * model_x_;
    for (int s = 0; s < sets; ++s) sum += static_cast<int64_t>(row.weights[s]) * dots_[s];
    const auto dot = static_cast<int32_t>(std::clamp<int64_t>(sum >> 16, -mix_most, mix_most));
    last_chances_[l] = tables_.squash(dot);
    both += dot;
  }
  return both >> 1;
}

uint32_t MixModel::refine(int32_t mixed) {
  const std::array<uint32_t, refinements> contexts = {
      mix_hash(static_cast<uint32_t>(history_.shape()) & 0xFFFF, node_) % final_contexts,
      mix_hash(history_.field(), node_) % final_contexts};
  const Knot knot = knot_of(mixed);
  uint64_t sum = uint64_t{6} * tables_.squash(mixed);
  for (int r = 0; r < refinements; ++r) {
    MixChance* row = final_chances_[r].data() + size_t{left_out_ == 27 + r ? 0 : contexts[r]} * mix_knots;
    used_final_[r] = row + knot.nearest();
    sum += uint64_t{5} * (read_knots(row, knot) << 9);
  }
  return static_cast<uint32_t>(std::clamp<uint64_t>(sum >> 4, 64, (1u << 31) - 64));
}

void MixModel::learn_weights(bool right) {
  const int64_t truth = right ? int64_t{1} << 31 : 0;
  std::array<int32_t, sets> errors;
  for (int s = 0; s < sets; ++s) {
    uint16_t& seen = row_seen_[rows_[s]];
    const int32_t pace = 20 + 112 * 128 / (128 + seen);
    if (seen < seen_limit) ++seen;
    errors[s] = static_cast<int32_t>((truth - set_chances_[s]) >> 15) * pace >> 8;
  }
  mix_kernels().train(&weights_[0], rows_.data(), x_.data(), errors.data());
  for (int l = 0; l < last_sets; ++l) {
    LastRow& row = *used_last_[l];
    const int32_t pace = 24 + 100 * 128 / (128 + row.seen);
    if (row.seen < static_cast<int32_t>(seen_limit)) ++row.seen;
    const int32_t error = static_cast<int32_t>((truth - last_chances_[l]) >> 15) * pace >> 10;
    for (int s = 0; s <= sets; ++s) {
      const int32_t x = s < sets ? dots_[s] : model_x_;
      row.weights[s] = std::clamp(row.weights[s] + ((x * error + 8192) >> 14), -mix_weight_most, mix_weight_most);
    }
  }
}

void MixModel::update(bool right) {
  if (skipped_) {
    descend(right);
    return;
  }
  learn_weights(right);
  used_model_->update(right, long_limit, tables_);
  for (MixChance* used : used_final_) used->update(right, long_limit, tables_);
  for (int i = 0; i < mix_lists; ++i) {
    if (!used_list_[i]) continue;
    used_list_[i]->update(right, chance_limit, tables_);
    used_list_model_[i]->update(right, chance_limit, tables_);
  }
  for (int i = 0; i < slot_contexts; ++i) {
    if (used_slot_model_[i]) used_slot_model_[i]->update(right, chance_limit, tables_);
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
  mix_kernels().descend(alive_.data(), mix_lists / 4, middle << 8, right);
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
  fetch_contexts();
}

}  // namespace llmc
