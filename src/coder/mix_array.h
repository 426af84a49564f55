// Zeroed memory for the tables of the mix codec: large ones take pages only as they are used,
// so that a size which a frame merely claims costs nothing.
#pragma once

#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>

namespace llmc {

// T may be all zero bytes. std::bad_alloc where there is no memory.
template <class T>
class MixArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  MixArray() = default;
  ~MixArray() { std::free(data_); }
  MixArray(const MixArray&) = delete;
  MixArray& operator=(const MixArray&) = delete;

  // All zero, whatever was there.
  void reset(size_t size) {
    if (size == size_ && size * sizeof(T) <= kept_bytes) {
      std::memset(static_cast<void*>(data_), 0, size * sizeof(T));
      return;
    }
    std::free(data_);
    size_ = 0;
    data_ = static_cast<T*>(std::calloc(size, sizeof(T)));
    if (data_ == nullptr) throw std::bad_alloc();
    size_ = size;
  }
  size_t size() const { return size_; }
  T& operator[](size_t i) { return data_[i]; }

 private:
  static constexpr size_t kept_bytes = size_t{8} << 20;  // beyond: cheaper taken anew
  T* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace llmc
