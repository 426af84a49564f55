#include "torch/torch_ops.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/mul.h>
#include <c10/core/InferenceMode.h>

#include <new>
#include <stdexcept>

namespace llmc {

uint8_t* TorchMemory::take(size_t bytes) {
  try {
    blocks_.push_back(at::empty({static_cast<int64_t>(bytes)}, at::kByte));
  } catch (const std::exception&) {
    throw std::bad_alloc();
  }
  auto* p = blocks_.back().data_ptr<uint8_t>();
  // 64 is what c10 aligns to on a CPU; the kernels count on it.
  if (reinterpret_cast<uintptr_t>(p) % 64 != 0) throw std::bad_alloc();
  return p;
}

at::Tensor TorchMemory::floats(float* p, int64_t rows, int64_t columns, int64_t stride) const {
  for (const at::Tensor& block : blocks_) {
    const auto* begin = block.data_ptr<uint8_t>();
    const auto* at = reinterpret_cast<uint8_t*>(p);
    if (at < begin || at >= begin + block.numel()) continue;
    return block.view(at::kFloat)
        .as_strided({rows, columns}, {stride, 1}, (at - begin) / static_cast<int64_t>(sizeof(float)));
  }
  throw std::logic_error("a tensor of foreign memory");
}

TorchEmbedding::TorchEmbedding(const Model& model) {
  const Matrix& m = model.embedding();
  weight = at::from_blob(const_cast<int8_t*>(m.w), {m.n, m.k}, at::kChar);
  scale = at::from_blob(const_cast<float*>(m.scale), {m.n, 1}, at::kFloat);
}

TorchOps::TorchOps(const HostWeights& weights, const TorchEmbedding& embedding, int streams, int context,
                   std::unique_ptr<TorchMemory> memory)
    : HostOps(weights, streams, context, std::move(memory)), embedding_(embedding) {
  const auto& tensors = static_cast<const TorchMemory&>(this->memory());
  const auto ld = static_cast<int64_t>(stride(Place::stream));
  const int64_t columns = width(Place::stream);
  stream_ = tensors.floats(floats(Place::stream), max_rows(), columns, ld);
  last_ = tensors.floats(floats(Place::last), max_rows(), columns, ld);
  delta_ = tensors.floats(delta(), max_rows(), columns, ld);
}

template <class F>
void TorchOps::guarded(const F& f) {
  if (!status_.ok()) return;
  try {
    const c10::InferenceMode inference;
    f();
  } catch (const std::exception& error) {
    status_ = Status(Code::failure, std::string("libtorch: ") + error.what());
  }
}

Status TorchOps::begin(const Batch& batch) {
  status_ = {};
  return HostOps::begin(batch);
}

// x = f32(w[id]) * sw[id]: a conversion that is exact and one rounded product.
void TorchOps::embed() {
  guarded([&] {
    const at::Tensor ids = at::from_blob(const_cast<int32_t*>(batch().ids.data()), {rows()}, at::kInt);
    at::Tensor out = stream_.narrow(0, 0, rows());
    out.copy_(at::index_select(embedding_.weight, 0, ids));
    out.mul_(at::index_select(embedding_.scale, 0, ids));
  });
  add_positions();
}

// One rounded sum per element.
void TorchOps::add_to_stream() {
  guarded([&] { stream_.narrow(0, 0, rows()).add_(delta_.narrow(0, 0, rows())); });
}

void TorchOps::gather(std::span<const int32_t> asking) {
  set_asking(static_cast<int>(asking.size()));
  guarded([&] {
    const auto count = static_cast<int64_t>(asking.size());
    const at::Tensor index = at::from_blob(const_cast<int32_t*>(asking.data()), {count}, at::kInt);
    last_.narrow(0, 0, count).copy_(at::index_select(stream_, 0, index));
  });
}

}  // namespace llmc
