// Memory that starts on a multiple of 64 bytes, as the opaque buffers of exact/kernels.h ask.
// One owner; not initialised: pages that are never touched cost nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace llmc {

class AlignedBytes {
 public:
  AlignedBytes() = default;
  explicit AlignedBytes(size_t size) : memory_(static_cast<uint8_t*>(::operator new(size, kAlignment))) {}
  uint8_t* data() const { return memory_.get(); }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(memory_.get());
  }
  explicit operator bool() const { return memory_ != nullptr; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(uint8_t* p) const { ::operator delete(p, kAlignment); }
  };
  std::unique_ptr<uint8_t, Free> memory_;
};

}  // namespace llmc
