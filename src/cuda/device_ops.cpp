#include "cuda/device_ops.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace llmc {

using cuda::Launch;

static_assert(sizeof(RangeState) == sizeof(cuda::RangeState));

namespace {

int ceil_divide(int64_t n, int64_t step) { return static_cast<int>((n + step - 1) / step); }
template <class T>
T round_up(T n, T step) {
  return (n + step - 1) / step * step;
}

// Four sizes an octave: few graphs, little padding.
int bucket(int n) {
  int octave = 4;
  while (octave * 2 <= n) octave *= 2;
  return round_up(n, std::max(1, octave / 4));
}

unsigned threads_for(int width) { return width >= 1024 ? 256 : 128; }

cuda::CacheShape shape_of_cache(const DeviceWeights& weights, int context) {
  const ModelConfig& c = weights.model().config();
  cuda::CacheShape shape{};
  shape.kv_heads = weights.kv_heads();
  shape.head_dim = c.head_dim;
  shape.context = context;
  shape.limbs = c.kv_bits / 8;
  const size_t positions = context;
  const size_t vectors = positions * c.head_dim * shape.limbs;
  shape.head_bytes = round_up<size_t>(2 * vectors + positions * (sizeof(float) + 1), 256);
  shape.slot_bytes = shape.head_bytes * shape.kv_heads;
  return shape;
}

// Rows that buffers hold: whole tiles of the linear kernels.
size_t buffer_rows(int rows) { return round_up<size_t>(rows, cuda::kLargestTile); }

int widest_input(const DeviceWeights& weights) {
  int k = 0;
  for (const auto& linear : weights.model().linears()) k = std::max(k, weights.linear(*linear).k_stride);
  return k;
}

}  // namespace

DeviceLimits DeviceOps::limits(const Model& model, int streams, int context) {
  const ModelConfig& c = model.config();
  DeviceLimits out;
  out.streams = streams;
  out.context = context;
  out.max_rows = std::max(streams, 8192);
  out.head_rows = std::clamp(static_cast<int>((int64_t{256} << 20) / (int64_t{4} * c.vocab)), 16, out.max_rows);
  return out;
}

uint64_t DeviceOps::bytes_per_stream(const DeviceWeights& weights, int context) {
  return shape_of_cache(weights, context).slot_bytes * weights.model().config().layers;
}

uint64_t DeviceOps::fixed_bytes(const DeviceWeights& weights, const DeviceLimits& limits) {
  const ModelConfig& c = weights.model().config();
  const uint64_t rows = buffer_rows(limits.max_rows);
  const uint64_t q = static_cast<uint64_t>(weights.heads() + 2 * weights.kv_heads()) * c.head_dim;
  const uint64_t floats = 2ull * c.width + 2 * q + 3ull * weights.ffn() + (weights.shard().count > 1 ? 2ull * c.width : 0);
  const uint64_t head = static_cast<uint64_t>(limits.head_rows) * (4ull * weights.ids() + weights.ids() / 32 + 8 * cuda::kBranches + 64 + 4ull * c.vocab + c.vocab / 8) +
                        8ull * c.vocab;
  return rows * (4 * floats + 2ull * widest_input(weights) + 256) + head + (uint64_t{300} << 20);
}

DeviceOps::DeviceOps(const DeviceWeights& weights, std::unique_ptr<Device> device, const DeviceLimits& limits,
                     Collective* collective, float* host_logits)
    : weights_(weights),
      c_(weights.model().config()),
      device_(std::move(device)),
      collective_(collective),
      limits_(limits),
      layer_count_(c_.layers),
      cache_shape_(shape_of_cache(weights, limits.context)),
      depth_(LeafOrder::depth_of(weights.model().symbols())),
      host_logits_(host_logits),
      tables_(**select_kernels(), c_.vocab, weights.model().symbols()) {
  const size_t rows = buffer_rows(limits.max_rows);
  const auto take = [&](size_t bytes) { return device_->take(round_up<size_t>(bytes, 256)); };
  for (const Place place :
       {Place::stream, Place::qkv, Place::mixed, Place::gate_up, Place::active, Place::last, Place::logits}) {
    const size_t count = place == Place::logits ? limits.head_rows : rows;
    places_[static_cast<int>(place)] = reinterpret_cast<float*>(take(count * stride(place) * sizeof(float)));
  }
  const size_t k = widest_input(weights);
  plane_ = rows * k;
  quantised_ = reinterpret_cast<int8_t*>(take(2 * plane_));
  scales_ = reinterpret_cast<float*>(take(rows * sizeof(float)));
  largest_ = reinterpret_cast<uint32_t*>(take(rows * sizeof(uint32_t)));
  if (weights.shard().count > 1) acc_ = reinterpret_cast<int64_t*>(take(rows * c_.width * sizeof(int64_t)));

  const Layout most = layout(static_cast<int>(rows), static_cast<int>(rows), static_cast<int>(rows), depth_);
  inputs_ = take(most.bytes);
  results_ = take(most.result_bytes);
  host_inputs_ = device_->take_host(most.bytes);
  host_results_ = device_->take_host(most.result_bytes);

  const size_t head_rows = limits.head_rows;
  groups_ = ceil_divide(weights.ids() + 1, cuda::kGroup);
  peaks_ = reinterpret_cast<uint32_t*>(take(2 * head_rows * sizeof(uint32_t)));
  orders_ = reinterpret_cast<uint32_t*>(take(head_rows * sizeof(uint32_t)));
  totals_ = reinterpret_cast<uint64_t*>(take(head_rows * weights.shard().count * sizeof(uint64_t)));
  sums_ = reinterpret_cast<uint64_t*>(take(head_rows * groups_ * sizeof(uint64_t)));
  branches_ = reinterpret_cast<uint64_t*>(take(head_rows * cuda::kBranches * sizeof(uint64_t)));

  for (int layer = 0; layer < layer_count_; ++layer) caches_.push_back(take(cache_shape_.slot_bytes * limits.streams));

  attend_plan_ = cuda::plan_attend(weights.heads() / weights.kv_heads(), weights.kv_heads(), c_.head_dim, limits.context,
                                   device_->most_shared_bytes());
  if (attend_plan_.scratch_floats > 0) {
    scratch_ = reinterpret_cast<float*>(take(attend_plan_.scratch_floats * sizeof(float)));
  }
}

int DeviceOps::local_width(Place place) const {
  switch (place) {
    case Place::stream:
    case Place::last:
      return c_.width;
    case Place::qkv:
      return (weights_.heads() + 2 * weights_.kv_heads()) * c_.head_dim;
    case Place::mixed:
      return weights_.heads() * c_.head_dim;
    case Place::gate_up:
      return (c_.gated ? 2 : 1) * weights_.ffn();
    case Place::active:
      return weights_.ffn();
    case Place::logits:
      return weights_.ids();
  }
  return 0;
}

// Logits lie close together: they are downloaded as one.
size_t DeviceOps::stride(Place place) const {
  const size_t width = local_width(place);
  return place == Place::logits ? width : round_up<size_t>(width, 32);
}

Status DeviceOps::wait() {
  if (!failed_.ok()) return failed_;
  if (collective_) LLMC_TRY(collective_->wait());
  const Status status = device_->wait();
  if (!status.ok() && collective_) collective_->failure(status);
  return status;
}

void DeviceOps::fail(const char* what) {
  failed_ = {Code::failure, device_->name() + ": " + what};
  if (collective_) collective_->failure(failed_);
}

// depth: that of the paths among the answers, 0 where there are none.
DeviceOps::Layout DeviceOps::layout(int rows, int items, int asking, int depth) {
  Layout out{};
  size_t at = 0;
  const auto part = [&](size_t bytes) {
    const size_t begin = at;
    at = round_up<size_t>(at + bytes, 16);
    return begin;
  };
  const size_t r = rows, a = asking;
  out.ids = part(r * sizeof(int32_t));
  out.positions = part(r * sizeof(int32_t));
  out.slots = part(r * sizeof(int32_t));
  out.items = part(items * sizeof(cuda::Item));
  out.asking = part(a * sizeof(int32_t));
  out.symbols = part(a * sizeof(int32_t));
  out.states = part(a * sizeof(RangeState));
  out.bytes = at;
  at = 0;
  out.bad = part(r * sizeof(uint32_t));
  out.head_bad = part(a * sizeof(uint32_t));
  out.answers = part(a * sizeof(cuda::Answer));
  out.paths = part(a * depth * sizeof(uint32_t));
  out.result_bytes = at;
  return out;
}

void DeviceOps::make_items(std::span<const Run> runs) {
  items_.clear();
  for (const Run& run : runs) {
    const int step = mode_ == Mode::at_once ? attend_plan_.rows : 1;
    for (int row = 0; row < run.rows; row += step) {
      items_.push_back({run.first_row + row, std::min(step, run.rows - row)});
    }
  }
}

Status DeviceOps::begin(const Batch& batch) {
  ask_ = batch.ask;
  searching_ = ask_ == Ask::search || (ask_ == Ask::leaves && std::any_of(batch.states.begin(), batch.states.end(),
                                                                          [](const RangeState& s) { return s.range != 0; }));
  rows_ = static_cast<int>(batch.ids.size());
  asking_ = static_cast<int>(batch.asking.size());
  range_.clear();
  host_bad_.assign(asking_, 0);
  if (batch.ask == Ask::tables) tables_.begin(asking_, Ask::tables);
  if (batch.ask == Ask::leaves) LLMC_TRY(take_leaves());

  const bool steps = static_cast<int>(batch.runs.size()) == rows_;
  const int most = static_cast<int>(buffer_rows(limits_.max_rows));
  mode_ = Mode::at_once;
  if (device_->has_graphs() && !collective_ && steps && batch.ask != Ask::tables && bucket(asking_) <= limits_.head_rows) {
    key_ = {std::min(bucket(rows_), most), asking_ == 0 ? 0 : std::min(bucket(asking_), most),
            2 * static_cast<int>(batch.ask) + searching_};
    const auto [known, first_time] = graph_of_.try_emplace(key_, -1);
    if (!first_time) mode_ = known->second < 0 ? Mode::recorded : Mode::replayed;
  }
  padded_rows_ = mode_ == Mode::at_once ? rows_ : std::get<0>(key_);
  padded_asking_ = mode_ == Mode::at_once ? asking_ : std::get<1>(key_);
  make_items(batch.runs);
  if (mode_ != Mode::at_once) items_.resize(padded_rows_);
  at_ = layout(padded_rows_, static_cast<int>(items_.size()), padded_asking_, ask_ == Ask::paths ? depth_ : 0);

  const auto fill = [&](size_t offset, const void* from, size_t bytes, size_t padded_bytes) {
    uint8_t* to = host_inputs_ + offset;
    if (bytes) std::memcpy(to, from, bytes);
    std::memset(to + bytes, 0xFF, padded_bytes - bytes);  // -1: padding
  };
  const size_t word = sizeof(int32_t);
  fill(at_.ids, batch.ids.data(), rows_ * word, padded_rows_ * word);
  fill(at_.positions, batch.positions.data(), rows_ * word, padded_rows_ * word);
  fill(at_.slots, nullptr, 0, padded_rows_ * word);
  auto* slots = reinterpret_cast<int32_t*>(host_inputs_ + at_.slots);
  for (const Run& run : batch.runs) std::fill_n(slots + run.first_row, run.rows, run.slot);
  fill(at_.items, items_.data(), items_.size() * sizeof(cuda::Item), items_.size() * sizeof(cuda::Item));
  fill(at_.asking, batch.asking.data(), asking_ * word, padded_asking_ * word);
  fill(at_.symbols, batch.symbols.data(), asking_ * word, padded_asking_ * word);
  const size_t state = sizeof(RangeState);
  fill(at_.states, batch.states.data(), asking_ * state, padded_asking_ * state);
  device_->upload(inputs_, host_inputs_, at_.bytes);
  if (mode_ == Mode::recorded) device_->begin_graph();
  if (!idle()) device_->clear(results_, at_.answers);
  return {};
}

int DeviceOps::padded(int count, bool asking) const {
  return mode_ == Mode::at_once ? count : (asking ? padded_asking_ : padded_rows_);
}

cuda::Quantised DeviceOps::quantised(const DeviceWeights::Matrix& matrix) const {
  return {quantised_, scales_, plane_, matrix.k_stride, matrix.limbs};
}

void DeviceOps::linear(const DeviceWeights::Matrix& matrix, int rows, cuda::LinearArgs::Into into, float* y,
                       size_t y_stride) {
  cuda::LinearArgs args{};
  args.in = quantised(matrix);
  args.w = matrix.w;
  args.scale = matrix.scale;
  args.bias = matrix.bias;
  args.y = y;
  args.acc = acc_;
  args.rows = rows;
  args.n = matrix.n;
  args.k_stride = matrix.k_stride;
  args.y_stride = y_stride;
  args.into = into;
  // Large tiles read operands less often; small ones reach more processors.
  const int large_blocks = ceil_divide(matrix.n, 128) * ceil_divide(rows, 128);
  const bool large = rows > 64 && large_blocks >= device_->processors();
  const cuda::TileShape tile = cuda::tile_shape(matrix.limbs, large);
  const Launch launch{static_cast<unsigned>(ceil_divide(matrix.n, tile.columns)),
                      static_cast<unsigned>(ceil_divide(rows, tile.rows)), tile.threads, tile.shared_bytes};
  if (matrix.limbs == 1) {
    large ? device_->linear8_large(launch, args) : device_->linear8_small(launch, args);
  } else {
    large ? device_->linear16_large(launch, args) : device_->linear16_small(launch, args);
  }
}

void DeviceOps::embed() {
  if (idle()) return;
  cuda::EmbedArgs args{};
  args.ids = input<int32_t>(at_.ids);
  args.alive = input<int32_t>(at_.slots);
  args.w = weights_.embedding().w;
  args.scale = weights_.embedding().scale;
  args.learned = weights_.positions();
  args.positions = input<int32_t>(at_.positions);
  args.x = floats(Place::stream);
  args.width = c_.width;
  args.w_stride = weights_.embedding().k_stride;
  args.x_stride = stride(Place::stream);
  device_->embed({static_cast<unsigned>(padded_rows_), 1, threads_for(c_.width), 0}, args);
}

void DeviceOps::norm_linear(Place in, int first, int count, const Norm& norm, const Linear& linear, Place out) {
  if (idle()) return;
  const bool asking = in == Place::last;
  const int rows = padded(count, asking);
  const DeviceWeights::Matrix& matrix = weights_.linear(linear);
  cuda::NormArgs args{};
  args.alive = input<int32_t>(asking ? at_.asking : at_.slots) + first;
  args.x = floats(in) + first * stride(in);
  args.g = weights_.norm(norm).g;
  args.b = weights_.norm(norm).b;
  args.x_stride = stride(in);
  args.width = c_.width;
  args.eps = c_.eps;
  args.out = quantised(matrix);
  args.marks = {result<uint32_t>(asking ? at_.head_bad : at_.bad) + first, mark()};
  device_->norm_quantise({static_cast<unsigned>(rows), 1, threads_for(c_.width), cuda::kReductionBytes}, args);
  this->linear(matrix, rows, cuda::LinearArgs::store, floats(out), stride(out));
}

void DeviceOps::turn_and_store(const Norm* q_norm, const Norm* k_norm) {
  if (idle()) return;
  cuda::TurnArgs args{};
  args.slots = input<int32_t>(at_.slots);
  args.positions = input<int32_t>(at_.positions);
  args.qkv = floats(Place::qkv);
  args.stride = stride(Place::qkv);
  args.q_norm = q_norm ? weights_.norm(*q_norm).g : nullptr;
  args.k_norm = k_norm ? weights_.norm(*k_norm).g : nullptr;
  args.cos = weights_.rope_cos();
  args.sin = weights_.rope_sin();
  args.cache = caches_[layer_];
  args.largest = largest_;
  args.shape = cache_shape_;
  args.rows = padded_rows_;
  args.heads = weights_.heads();
  args.rotary = c_.rotary;
  args.neighbours = c_.rope_pairs == RopePairs::neighbours;
  args.eps = c_.eps;
  args.marks = {result<uint32_t>(at_.bad), mark()};
  const int heads = args.heads + 2 * cache_shape_.kv_heads;
  device_->turn_and_store({static_cast<unsigned>(padded_rows_), static_cast<unsigned>(ceil_divide(heads, cuda::kTurnWarps)),
                           cuda::kTurnWarps * 32, cuda::kTurnShared},
                          args);
}

void DeviceOps::attend() {
  if (idle()) return;
  const cuda::AttendPlan& plan = attend_plan_;
  cuda::AttendArgs args{};
  args.items = input<cuda::Item>(at_.items);
  args.slots = input<int32_t>(at_.slots);
  args.positions = input<int32_t>(at_.positions);
  args.q = floats(Place::qkv);
  args.stride = stride(Place::qkv);
  args.cache = caches_[layer_];
  args.out = floats(Place::mixed);
  args.out_stride = stride(Place::mixed);
  args.largest = largest_;
  args.scratch = scratch_;
  args.shape = cache_shape_;
  args.item_count = static_cast<int>(items_.size());
  args.heads = weights_.heads();
  args.heads_at_once = plan.heads;
  args.span = plan.span;
  args.window = weights_.model().layers()[layer_].window;
  args.scale = c_.attention_scale;
  args.marks = {result<uint32_t>(at_.bad), mark()};
  const int queries = mode_ == Mode::at_once ? plan.queries : plan.step_queries;
  const unsigned shared = cuda::attend_shared(queries, c_.head_dim, scratch_ ? 0 : plan.span);
  const Launch launch{static_cast<unsigned>(std::min<int>(args.item_count, plan.most_blocks)),
                      static_cast<unsigned>(plan.parts), 128, shared};
  const bool wide = cache_shape_.limbs == 2;
  switch (queries) {
    case 1:
      return wide ? device_->attend1_wide(launch, args) : device_->attend1(launch, args);
    case 2:
      return wide ? device_->attend2_wide(launch, args) : device_->attend2(launch, args);
    case 4:
      return wide ? device_->attend4_wide(launch, args) : device_->attend4(launch, args);
    default:
      return wide ? device_->attend8_wide(launch, args) : device_->attend8(launch, args);
  }
}

void DeviceOps::linear_add(Place in, const Linear& linear) {
  if (idle()) return;
  const DeviceWeights::Matrix& matrix = weights_.linear(linear);
  // A row that is split over devices is quantised by its maximum over all of them.
  if (collective_) collective_->all_max(largest_, padded_rows_);
  cuda::QuantiseArgs args{};
  args.alive = input<int32_t>(at_.slots);
  args.x = floats(in);
  args.largest = largest_;
  args.x_stride = stride(in);
  args.width = matrix.k;
  args.out = quantised(matrix);
  args.marks = {result<uint32_t>(at_.bad), mark()};
  device_->quantise({static_cast<unsigned>(padded_rows_), 1, threads_for(matrix.k), 0}, args);
  float* stream = floats(Place::stream);
  if (!matrix.split_k) {
    this->linear(matrix, padded_rows_, cuda::LinearArgs::add, stream, stride(Place::stream));
    return;
  }
  this->linear(matrix, padded_rows_, cuda::LinearArgs::sums, nullptr, 0);
  const size_t elements = static_cast<size_t>(padded_rows_) * matrix.n;
  collective_->all_sum(reinterpret_cast<uint64_t*>(acc_), elements);
  const cuda::FinishArgs finish{acc_, scales_, matrix.scale, matrix.bias, stream, padded_rows_, matrix.n,
                                stride(Place::stream)};
  device_->finish({static_cast<unsigned>(ceil_divide(static_cast<int64_t>(elements), 256)), 1, 256, 0}, finish);
}

void DeviceOps::activate() {
  if (idle()) return;
  cuda::ActivateArgs args{};
  args.alive = input<int32_t>(at_.slots);
  args.gate_up = floats(Place::gate_up);
  args.y = floats(Place::active);
  args.largest = largest_;
  args.stride = stride(Place::gate_up);
  args.y_stride = stride(Place::active);
  args.width = weights_.ffn();
  args.function = c_.activation == Activation::silu   ? cuda::ActivateArgs::silu
                  : c_.activation == Activation::gelu ? cuda::ActivateArgs::gelu_erf
                                                      : cuda::ActivateArgs::gelu_tanh;
  args.gated = c_.gated;
  device_->activate({static_cast<unsigned>(padded_rows_), 1, threads_for(args.width), cuda::kReductionBytes}, args);
}

void DeviceOps::gather(std::span<const int32_t>) {
  if (idle()) return;
  const cuda::CopyArgs args{input<int32_t>(at_.asking), floats(Place::stream), floats(Place::last), c_.width,
                            stride(Place::stream)};
  device_->copy_rows({static_cast<unsigned>(padded_asking_), 1, threads_for(c_.width), 0}, args);
}

Status DeviceOps::finish() {
  if (mode_ == Mode::recorded) {
    graph_of_[key_] = device_->end_graph();
    ++graph_count_;
  }
  if (mode_ != Mode::at_once) device_->run(graph_of_[key_]);
  if (collective_) {
    collective_->all_max(result<uint32_t>(at_.bad), padded_rows_);
    if (padded_asking_ > 0) collective_->all_max(result<uint32_t>(at_.head_bad), padded_asking_);
  }
  // Of a graph: there the head runs once.
  if (ask_ == Ask::leaves && mode_ != Mode::at_once) download_leaves(0, asking_);
  device_->download(host_results_, results_, at_.result_bytes);
  const Status status = wait();
  return status_.ok() ? status : std::exchange(status_, {});
}

std::span<const uint8_t> DeviceOps::range(int layer) {
  const bool head = layer == layer_count_;
  const auto* marks = reinterpret_cast<const uint32_t*>(host_results_ + (head ? at_.head_bad : at_.bad));
  const int count = head ? asking_ : rows_;
  range_.resize(count);
  for (int i = 0; i < count; ++i) {
    range_[i] = marks[i] == static_cast<uint32_t>(layer_count_ + 1 - layer) || (head && host_bad_[i]);
  }
  return range_;
}

std::vector<float> DeviceOps::read(Place place, int rows) {
  const size_t ld = stride(place), width = local_width(place);
  std::vector<float> all(rows * ld), out(rows * width);
  device_->download(all.data(), floats(place), all.size() * sizeof(float));
  if (!wait().ok()) return {};
  for (int i = 0; i < rows; ++i) std::memcpy(&out[i * width], &all[i * ld], width * sizeof(float));
  return out;
}

Result<std::vector<int64_t>> DeviceOps::products(const Linear& linear, int rows, const std::vector<int8_t>& q) {
  const DeviceWeights::Matrix& matrix = weights_.linear(linear);
  std::vector<int8_t> padded(2 * plane_);
  for (int limb = 0; limb < matrix.limbs; ++limb) {
    for (int row = 0; row < rows; ++row) {
      std::memcpy(&padded[limb * plane_ + static_cast<size_t>(row) * matrix.k_stride],
                  &q[(static_cast<size_t>(limb) * rows + row) * matrix.k], matrix.k);
    }
  }
  std::vector<int64_t> out(static_cast<size_t>(rows) * matrix.n);
  int64_t* const before = acc_;
  try {
    acc_ = reinterpret_cast<int64_t*>(device_->take(out.size() * sizeof(int64_t)));
  } catch (const std::bad_alloc&) {
    return Status(Code::failure, device_->name() + " has no memory for its start-up check");
  }
  device_->upload(quantised_, padded.data(), padded.size());
  this->linear(matrix, rows, cuda::LinearArgs::sums, nullptr, 0);
  device_->download(out.data(), acc_, out.size() * sizeof(int64_t));
  acc_ = before;
  LLMC_TRY(wait());
  return out;
}

}  // namespace llmc
