// Integer maxima and sums over the devices that share one model: all that tensor parallelism exchanges (docs/NUMERICS.md 7),
// so that its degree cannot change a bit.
//
// Each member belongs to one device and one thread. All members call the same operations in the same order; an operation
// works in place on memory of the member's device, after what was queued there before and before what is queued after.
//
// They fail together: the first failure() of any member ends what all of them wait for, now and from then on, and every
// member's wait() returns it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"

namespace llmc {

class Collective {
 public:
  virtual ~Collective() = default;
  virtual int index() const = 0;  // 0 .. count() - 1
  virtual int count() const = 0;
  virtual void all_max(uint32_t* at, size_t n) = 0;
  virtual void all_sum(uint64_t* at, size_t n) = 0;  // modulo 2^64

  // Until what was queued on this member's device has run, or a member has failed.
  virtual Status wait() = 0;
  // This member cannot go on; from its thread. The first one's words are kept.
  virtual void failure(const Status& why) = 0;
};

}  // namespace llmc
