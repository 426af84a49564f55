#include "emulator.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <numeric>

#include "cuda/answer_kernels.h"
#include "cuda/attention_kernels.h"
#include "cuda/linear_kernel.h"
#include "cuda/row_kernels.h"
#include "exact/kernels.h"

namespace llmc {
namespace {

using test::ThreadOrder;

[[noreturn]] void stop(const char* why) {
  std::fprintf(stderr, "emulator: %s\n", why);
  std::abort();
}

struct Barrier {
  unsigned expected = 0, arrived = 0, turn = 0;
};

struct Warp {
  Barrier barrier;
  unsigned char given[32][32];
};

// A thread of the emulated block. The first entry goes through ucontext, later switches through _setjmp, which makes no
// system calls.
struct Fiber {
  lane::Here here;
  ucontext_t entry;
  jmp_buf at;
  std::unique_ptr<char[]> stack;
  bool started = false, done = false;
};

class Block {
 public:
  static constexpr size_t kStack = 48 << 10;

  Block(unsigned threads, unsigned shared_bytes) : fibers_(threads), warps_((threads + 31) / 32) {
    if (threads % 32 != 0) stop("the threads of a block are no multiple of 32");
    shared_.resize(shared_bytes + 64);
    for (Fiber& fiber : fibers_) fiber.stack = std::make_unique<char[]>(kStack);
  }

  void run(const cuda::Launch& launch, unsigned x, unsigned y, ThreadOrder order, const std::function<void()>& body) {
    body_ = &body;
    std::memset(shared_.data(), 0xFF, shared_.size());
    auto* shared = shared_.data() + (64 - reinterpret_cast<uintptr_t>(shared_.data()) % 64) % 64;
    for (unsigned i = 0; i < fibers_.size(); ++i) {
      fibers_[i].here = {i, launch.threads, x, y, launch.x, launch.y, shared};
      fibers_[i].started = fibers_[i].done = false;
    }
    barrier_ = {launch.threads, 0, 0};
    for (Warp& warp : warps_) warp.barrier = {32, 0, 0};

    std::vector<unsigned> turns(fibers_.size());
    std::iota(turns.begin(), turns.end(), 0u);
    if (order == ThreadOrder::down) std::reverse(turns.begin(), turns.end());
    if (order == ThreadOrder::mixed) {
      for (unsigned i = 0; i < turns.size(); ++i) std::swap(turns[i], turns[(i * 7919 + 13) % turns.size()]);
    }
    for (unsigned left = static_cast<unsigned>(fibers_.size()); left > 0;) {
      const unsigned before = left;
      moved_ = false;
      for (const unsigned i : turns) {
        if (fibers_[i].done) continue;
        resume(fibers_[i]);
        left -= fibers_[i].done;
      }
      if (left == before && !moved_) stop("a barrier that not all threads reach");
    }
  }

  static thread_local Block* current;
  Fiber* self = nullptr;

  void wait(Barrier& barrier) {
    const unsigned turn = barrier.turn;
    if (++barrier.arrived == barrier.expected) {
      barrier.arrived = 0;
      ++barrier.turn;
      moved_ = true;
      return;
    }
    while (barrier.turn == turn) yield();
  }
  Barrier& barrier() { return barrier_; }
  Warp& warp() { return warps_[self->here.thread / 32]; }

 private:
  static void enter() {
    Block& block = *current;
    (*block.body_)();
    block.self->done = true;
    block.moved_ = true;
    _longjmp(block.back_, 1);
  }

  void resume(Fiber& fiber) {
    self = &fiber;
    if (_setjmp(back_) != 0) return;
    if (fiber.started) _longjmp(fiber.at, 1);
    fiber.started = true;
    moved_ = true;
    getcontext(&fiber.entry);
    fiber.entry.uc_stack.ss_sp = fiber.stack.get();
    fiber.entry.uc_stack.ss_size = kStack;
    fiber.entry.uc_link = nullptr;
    makecontext(&fiber.entry, enter, 0);
    setcontext(&fiber.entry);
  }

  void yield() {
    if (_setjmp(self->at) == 0) _longjmp(back_, 1);
  }

  const std::function<void()>* body_ = nullptr;
  std::vector<Fiber> fibers_;
  std::vector<Warp> warps_;
  std::vector<unsigned char> shared_;
  Barrier barrier_;
  jmp_buf back_;
  bool moved_ = false;
};

thread_local Block* Block::current = nullptr;

}  // namespace

namespace lane {

const Here& here() { return Block::current->self->here; }
void sync() { Block::current->wait(Block::current->barrier()); }
void sync_warp() { Block::current->wait(Block::current->warp().barrier); }
void exchange(const void* mine, size_t bytes, void* all) {
  if (bytes > 32) stop("too much to exchange");
  Warp& warp = Block::current->warp();
  std::memcpy(warp.given[thread() % 32], mine, bytes);
  sync_warp();
  for (int i = 0; i < 32; ++i) std::memcpy(static_cast<unsigned char*>(all) + i * bytes, warp.given[i], bytes);
  sync_warp();
}

}  // namespace lane

namespace test {

void run_blocks(const cuda::Launch& launch, ThreadOrder order, const std::function<void()>& body) {
  // Stacks are kept: most launches have one of few sizes.
  static thread_local std::map<std::pair<unsigned, unsigned>, std::unique_ptr<Block>> blocks;
  std::unique_ptr<Block>& block = blocks[{launch.threads, launch.shared_bytes}];
  if (!block) block = std::make_unique<Block>(launch.threads, launch.shared_bytes);
  Block::current = block.get();
  for (unsigned y = 0; y < launch.y; ++y) {
    for (unsigned x = 0; x < launch.x; ++x) block->run(launch, x, y, order, body);
  }
}

namespace {

class Emulator final : public Device {
 public:
  explicit Emulator(const EmulatorOptions& options) : options_(options) {}

  std::string name() const override { return "GPU " + std::to_string(options_.index) + " (emulated)"; }
  int processors() const override { return options_.processors; }
  unsigned most_shared_bytes() const override { return options_.shared_bytes; }
  uint64_t free_bytes() override { return options_.memory - taken_; }

  uint8_t* take(size_t bytes) override {
    if (bytes > free_bytes()) throw std::bad_alloc();
    taken_ += bytes;
    uint8_t* at = take_host(bytes);
    std::memset(at, 0xFF, bytes);
    return at;
  }
  uint8_t* take_host(size_t bytes) override {
    auto* at = static_cast<uint8_t*>(std::aligned_alloc(256, (bytes + 255) / 256 * 256));
    if (!at) throw std::bad_alloc();
    memory_.emplace_back(at);
    return at;
  }

  void upload(void* to, const void* from, size_t bytes) override { copy(to, from, bytes); }
  void download(void* to, const void* from, size_t bytes) override { copy(to, from, bytes); }
  void clear(void* at, size_t bytes) override {
    queue([=] { std::memset(at, 0, bytes); });
  }
  Status wait() override {
    if (recording_) stop("wait() while a graph is recorded");
    return {};
  }

#define LLMC_EMULATED(kernel, Args)                                                         \
  void kernel(const cuda::Launch& launch, const cuda::Args& args) override {                \
    if (launch.shared_bytes > options_.shared_bytes) stop("too much shared memory");        \
    queue([this, launch, args] {                                                            \
      const FloatState exact;                                                               \
      run_blocks(launch, options_.order, [&args] { cuda::kernel(args); });                  \
    });                                                                                     \
  }
  LLMC_CUDA_KERNELS(LLMC_EMULATED)
#undef LLMC_EMULATED

  bool has_graphs() const override { return options_.graphs; }
  void begin_graph() override {
    recording_ = true;
    graphs_.emplace_back();
  }
  int end_graph() override {
    recording_ = false;
    return static_cast<int>(graphs_.size()) - 1;
  }
  void run(int graph) override {
    for (const auto& step : graphs_[graph]) step();
  }

 private:
  void copy(void* to, const void* from, size_t bytes) {
    if (recording_) stop("a copy from or to the host while a graph is recorded");
    if (bytes) std::memcpy(to, from, bytes);
  }
  void queue(std::function<void()> step) {
    recording_ ? graphs_.back().push_back(std::move(step)) : step();
  }

  struct Free {
    void operator()(uint8_t* p) const { std::free(p); }
  };
  const EmulatorOptions options_;
  uint64_t taken_ = 0;
  std::vector<std::unique_ptr<uint8_t, Free>> memory_;
  bool recording_ = false;
  std::vector<std::vector<std::function<void()>>> graphs_;
};

}  // namespace

std::unique_ptr<Device> make_emulator(const EmulatorOptions& options) { return std::make_unique<Emulator>(options); }

}  // namespace test
}  // namespace llmc
