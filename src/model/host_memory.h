// Where a back end on the CPU takes its memory: plain, or the tensors of libtorch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

namespace llmc {

// One owner, one thread at a time. What it gives lives as long as it does.
class HostMemory {
 public:
  virtual ~HostMemory() = default;
  // Starts on a multiple of 64 bytes and is not initialised: pages that are never touched cost
  // nothing. Throws std::bad_alloc.
  virtual uint8_t* take(size_t bytes) = 0;
};

class PlainMemory final : public HostMemory {
 public:
  uint8_t* take(size_t bytes) override {
    blocks_.emplace_back(static_cast<uint8_t*>(::operator new(bytes, kAlignment)));
    return blocks_.back().get();
  }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(uint8_t* p) const { ::operator delete(p, kAlignment); }
  };
  std::vector<std::unique_ptr<uint8_t, Free>> blocks_;
};

}  // namespace llmc
