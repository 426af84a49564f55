// The end of a pass on a GPU: from logits to answers. The rest of DeviceOps is in device_ops.cpp.
#include <algorithm>
#include <new>
#include <string>

#include "base/chance.h"
#include "cuda/device_ops.h"

namespace llmc {

namespace {

unsigned blocks_for(int n, int step) { return static_cast<unsigned>((n + step - 1) / step); }

size_t rounded(size_t bytes) { return (bytes + 255) / 256 * 256; }

}  // namespace

static_assert(cuda::kLeafBlock == leaf_block);

Status DeviceOps::set_leaves(const LeafOrder& order) {
  const size_t bytes = order.leaf_of.size() * sizeof(uint32_t);
  try {
    if (leaf_of_ == nullptr) leaf_of_ = reinterpret_cast<uint32_t*>(device_->take(rounded(bytes)));
    if (symbol_of_ == nullptr) symbol_of_ = reinterpret_cast<uint32_t*>(device_->take(rounded(bytes)));
  } catch (const std::bad_alloc&) {
    return {Code::failure, device_->name() + " has no memory for the order of the tokens"};
  }
  tables_.set_leaves(order);
  device_->upload(leaf_of_, order.leaf_of.data(), bytes);
  device_->upload(symbol_of_, order.symbol_of.data(), bytes);
  return device_->wait();
}

// On the device room for one head's rows, on the host for all rows that ask.
Status DeviceOps::take_leaves() {
  const size_t leaves = weights_.model().symbols(), blocks = leaf_blocks(static_cast<uint32_t>(leaves));
  try {
    if (leaf_sums_ == nullptr) {
      const size_t rows = limits_.head_rows;
      leaf_weights_ = reinterpret_cast<uint32_t*>(device_->take(rounded(rows * leaves * sizeof(uint32_t))));
      leaf_sums_ = reinterpret_cast<uint64_t*>(device_->take(rounded(rows * blocks * sizeof(uint64_t))));
    }
    if (weights_.shard().index == 0 && asking_ > host_leaf_rows_) {
      const size_t rows = std::max(asking_, 2 * host_leaf_rows_);
      host_leaf_rows_ = 0;
      host_leaf_weights_ = reinterpret_cast<uint32_t*>(device_->take_host(rows * leaves * sizeof(uint32_t)));
      host_leaf_sums_ = reinterpret_cast<uint64_t*>(device_->take_host(rows * blocks * sizeof(uint64_t)));
      host_leaf_rows_ = static_cast<int>(rows);
    }
  } catch (const std::bad_alloc&) {
    return {Code::failure, device_->name() + ": no memory for the weights of " + std::to_string(asking_) + " tokens"};
  }
  return {};
}

// Rows of the head, the first of them asking row `first`; `rows` with padding.
void DeviceOps::weigh_leaves(int first, int rows, int count) {
  const ModelShare& shard = weights_.shard();
  const int leaves = weights_.model().symbols(), blocks = static_cast<int>(leaf_blocks(leaves));
  cuda::LeavesArgs args{};
  args.alive = input<int32_t>(at_.asking) + first;
  args.logits = floats(Place::logits);
  args.stride = stride(Place::logits);
  args.real = weights_.ids();
  args.symbols = args.real + (shard.index + 1 == shard.count && weights_.model().escape() ? 1 : 0);
  args.rows = rows;
  args.first = weights_.first_id();
  args.leaves = leaves;
  args.peaks = peaks_;
  args.symbol_of = symbol_of_;
  args.weights = leaf_weights_;
  args.sums = leaf_sums_;
  args.marks = {result<uint32_t>(at_.head_bad) + first, mark()};
  device_->weigh_leaves({blocks_for(blocks, cuda::kLeafBlocksOfWarp * cuda::kWeighThreads / 32), static_cast<unsigned>(rows),
                         cuda::kWeighThreads, 0},
                        args);
  if (collective_) {
    collective_->all_max(leaf_weights_, static_cast<size_t>(rows) * leaves);
    collective_->all_sum(leaf_sums_, static_cast<size_t>(rows) * blocks);
  }
  if (mode_ == Mode::at_once) download_leaves(first, count);
}

void DeviceOps::download_leaves(int first, int count) {
  if (weights_.shard().index != 0) return;
  const size_t leaves = weights_.model().symbols(), blocks = leaf_blocks(static_cast<uint32_t>(leaves));
  device_->download(host_leaf_weights_ + first * leaves, leaf_weights_, count * leaves * sizeof(uint32_t));
  device_->download(host_leaf_sums_ + first * blocks, leaf_sums_, count * blocks * sizeof(uint64_t));
}

LeafWeights DeviceOps::leaves(int i) {
  if (ask_ == Ask::tables) return tables_.leaves(i);
  if (ask_ != Ask::leaves) return {};
  const size_t leaves = weights_.model().symbols(), blocks = leaf_blocks(static_cast<uint32_t>(leaves));
  return {{host_leaf_weights_ + i * leaves, leaves}, {host_leaf_sums_ + i * blocks, blocks}};
}

void DeviceOps::frequencies(int first, std::span<const int32_t> symbols, Ask ask) {
  const int count = static_cast<int>(symbols.size());
  const ModelShare& shard = weights_.shard();
  if (ask == Ask::tables) {
    if (!host_logits_) {
      host_logits_ = reinterpret_cast<float*>(device_->take_host(sizeof(float) * limits_.head_rows * c_.vocab));
    }
    const size_t width = weights_.ids();
    if (shard.count == 1) {
      device_->download(host_logits_, floats(Place::logits), count * width * sizeof(float));
    } else {
      for (int i = 0; i < count; ++i) {
        device_->download(host_logits_ + static_cast<size_t>(i) * c_.vocab + weights_.first_id(),
                          floats(Place::logits) + i * width, width * sizeof(float));
      }
    }
    status_ = wait();
    if (shard.count == 1 && status_.ok()) answer_tables(first, symbols);
    return;
  }
  if (idle()) return;

  const int rows = padded(count, true);
  const auto blocks = static_cast<unsigned>(rows);
  const int32_t* alive = input<int32_t>(at_.asking) + first;
  const int32_t* wanted = input<int32_t>(at_.symbols) + first;
  const float* logits = floats(Place::logits);
  const int ids = weights_.ids();
  cuda::Answer* answers = result<cuda::Answer>(at_.answers) + first;
  const auto all_sum_answers = [&] {
    if (collective_) collective_->all_sum(reinterpret_cast<uint64_t*>(answers), size_t{4} * rows);
  };

  const cuda::PeakArgs peak{alive, logits, stride(Place::logits), ids, rows, shard.count, peaks_, totals_};
  device_->peak({blocks, 1, 256, cuda::kReductionBytes}, peak);
  if (collective_) collective_->all_max(peaks_, size_t{2} * rows);
  if (ask == Ask::leaves) {
    weigh_leaves(first, rows, count);
    if (!searching_) return;
  }
  const bool last = shard.index + 1 == shard.count;
  cuda::WeighArgs weigh{};
  weigh.alive = alive;
  weigh.logits = logits;
  weigh.stride = stride(Place::logits);
  weigh.real = ids;
  weigh.symbols = ids + (last && weights_.model().escape() ? 1 : 0);
  weigh.rows = rows;
  weigh.shard = shard.index;
  weigh.peaks = peaks_;
  weigh.sums = sums_;
  weigh.groups = groups_;
  weigh.totals = totals_;
  weigh.marks = {result<uint32_t>(at_.head_bad) + first, mark()};
  if (ask == Ask::paths) {
    device_->weigh_branches({blocks, 1, cuda::kWeighThreads, cuda::kBranchBytes},
                            {weigh, wanted, leaf_of_, weights_.first_id(), branches_});
    if (collective_) collective_->all_sum(branches_, size_t{cuda::kBranches} * rows);
  } else {
    device_->weigh({blocks_for(groups_, cuda::kWeighThreads / 32), blocks, cuda::kWeighThreads, 0},
                   weigh);
  }
  if (ask == Ask::ranks) {
    const cuda::RankArgs rank{alive, logits, stride(Place::logits), ids, weights_.first_id(), wanted, orders_, answers};
    device_->find_order({blocks, 1, 32, 0}, rank);
    if (collective_) collective_->all_max(orders_, rows);
    device_->rank({blocks, 1, 256, cuda::kReductionBytes}, rank);
    all_sum_answers();
    return;
  }
  if (collective_) collective_->all_sum(totals_, static_cast<size_t>(shard.count) * rows);
  cuda::AnswerArgs answer{};
  answer.alive = alive;
  answer.logits = logits;
  answer.stride = stride(Place::logits);
  answer.real = ids;
  answer.symbols = weigh.symbols;
  answer.rows = rows;
  answer.first = weights_.first_id();
  answer.groups = groups_;
  answer.shard = shard.index;
  answer.shards = shard.count;
  answer.peaks = peaks_;
  answer.sums = sums_;
  answer.totals = totals_;
  answer.wanted = wanted;
  answer.states = searching_ ? input<cuda::RangeState>(at_.states) + first : nullptr;
  answer.answers = answers;
  if (ask == Ask::paths) {
    answer.branches = branches_;
    answer.leaf_of = leaf_of_;
    answer.paths = result<uint32_t>(at_.paths) + static_cast<size_t>(first) * depth_;
    answer.depth = depth_;
    answer.leaves = weights_.model().symbols();
  }
  device_->answer({blocks_for(rows, 4), 1, 128, 0}, answer);
  all_sum_answers();
}

void DeviceOps::answer_tables(int first, std::span<const int32_t> symbols) {
  for (size_t i = 0; i < symbols.size(); ++i) {
    if (!tables_.add(first + static_cast<int>(i), host_logits_ + i * c_.vocab, symbols[i], {})) host_bad_[first + i] = 1;
  }
}

Interval DeviceOps::interval(int i) {
  if (ask_ != Ask::intervals && ask_ != Ask::paths) return {};
  const auto& answer = reinterpret_cast<const cuda::Answer*>(host_results_ + at_.answers)[i];
  return {answer.cum, answer.weight, answer.total};
}

uint32_t DeviceOps::rank(int i) {
  if (ask_ != Ask::ranks) return 0;
  return static_cast<uint32_t>(reinterpret_cast<const cuda::Answer*>(host_results_ + at_.answers)[i].symbol);
}

std::span<const uint32_t> DeviceOps::path(int i) {
  if (ask_ != Ask::paths) return {};
  return {reinterpret_cast<const uint32_t*>(host_results_ + at_.paths) + static_cast<size_t>(i) * depth_,
          static_cast<size_t>(depth_)};
}

Symbol DeviceOps::found(int i, Interval* interval) {
  if (!searching_) return Row::no_question;
  const auto& answer = reinterpret_cast<const cuda::Answer*>(host_results_ + at_.answers)[i];
  if (interval) *interval = {answer.cum, answer.weight, answer.total};
  return static_cast<Symbol>(answer.symbol);
}

}  // namespace llmc
