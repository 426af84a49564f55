// Where a chunk's token stream stands in the model's windows.
//
// A window holds up to n tokens: the start token at position 0, then the c tokens before the
// window (none before the first), then the window's own. The token at position p asks for
// the next one; positions below c only fill the cache. The cache is emptied between windows,
// never shifted: so the first window codes n tokens, each later one n - c.
#pragma once

#include <cstdint>

namespace llmc {

class WindowCursor {
 public:
  // 0 <= carry < window.
  WindowCursor(uint32_t window, uint32_t carry) : window_(window), carry_(carry) {}

  // The position that the next token is fed at.
  uint32_t position() const { return position_; }
  // Whether that position codes a token, or only carries one over.
  bool codes() const { return position_ >= carried_; }
  // Positions to feed before one codes.
  uint32_t rows_to_carry() const { return codes() ? 0 : carried_ - position_; }
  // Index in the chunk of the token that position p > 0 holds is base() + p - 1.
  uint64_t base() const { return base_; }
  // Index in the chunk of the token that the current position predicts.
  uint64_t predicts() const { return base_ + position_; }
  uint32_t rows_left() const { return window_ - position_; }

  void advance() { ++position_; }
  bool window_is_full() const { return position_ == window_; }
  // Tokens by which base() moves.
  uint32_t next_window() {
    base_ += window_ - carry_;
    carried_ = carry_;
    position_ = 0;
    return window_ - carry_;
  }

 private:
  uint32_t window_;
  uint32_t carry_;
  uint64_t base_ = 0;
  uint32_t carried_ = 0;
  uint32_t position_ = 0;
};

}  // namespace llmc
