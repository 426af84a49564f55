// Zeroed memory for the tables of the mix codec: large ones take pages only as they are used,
// so that a size which a frame merely claims costs nothing.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>

namespace llmc {

// T may be all zero bytes. Begins at a cache line. std::bad_alloc where there is no memory.
template <class T>
class MixArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  MixArray() = default;
  ~MixArray() { std::free(memory_); }
  MixArray(const MixArray&) = delete;
  MixArray& operator=(const MixArray&) = delete;

  // All zero, whatever was there.
  void reset(size_t size) {
    if (size == size_ && size * sizeof(T) <= kept_bytes) {
      std::memset(static_cast<void*>(data_), 0, size * sizeof(T));
      return;
    }
    std::free(memory_);
    size_ = 0;
    memory_ = std::calloc(size * sizeof(T) + line, 1);
    if (memory_ == nullptr) throw std::bad_alloc();
    data_ = reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(memory_) + line - 1) / line * line);
    size_ = size;
  }
  // The bytes of another one.
  void copy(const MixArray& other) {
    if (size_ != other.size_) reset(other.size_);
    if (size_ > 0) std::memcpy(static_cast<void*>(data_), other.data_, size_ * sizeof(T));
  }
  size_t size() const { return size_; }
  T& operator[](size_t i) { return data_[i]; }

 private:
  static constexpr size_t kept_bytes = size_t{8} << 20;  // beyond: cheaper taken anew
  static constexpr size_t line = 64;
  void* memory_ = nullptr;
  T* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace llmc
