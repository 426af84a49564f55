// Errors as values: Status and Result<T>.
//
// Every function that can fail for a reason outside the program returns one of
// these; exceptions are left to the standard library (bad_alloc) and to bugs.
// The message is one sentence for the user and names the path or item.
// Both types are plain values: any thread may hold, copy or move its own.
#pragma once

#include <cstdlib>
#include <string>
#include <utility>
#include <variant>

namespace llmc {

// What kind of failure; each maps to one documented process exit code.
enum class Code : unsigned char {
  ok,           // 0
  failure,      // 1: anything not named below (I/O error, full disk, ...)
  usage,        // 2: wrong options or arguments
  partial,      // 3: some input unreadable or some chunk failed, the rest is done
  missing,      // 10: the archive or input does not exist
  locked,       // 11: another process works on the same output
  model,        // 12: wrong, missing or unusable model
  corrupt,      // 20: stored data does not match its checksum or its format
  drained,      // 75: stopped on request, run again to resume
  interrupted,  // 130: SIGINT
  range,        // 1: activation out of the proven range; the chunk falls back
};

int exit_code(Code code);
const char* code_name(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == Code::ok; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

  // The same failure with "context: " in front of its message.
  Status with(const std::string& context) const {
    return ok() ? *this : Status(code_, context + ": " + message_);
  }

 private:
  Code code_ = Code::ok;
  std::string message_;
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit by design
  Result(Status status) : state_(std::in_place_index<1>, std::move(status)) {  // NOLINT
    if (std::get<1>(state_).ok()) std::abort();  // a Result without a value must say why
  }

  bool ok() const { return state_.index() == 0; }
  const T& operator*() const& { return std::get<0>(state_); }
  T& operator*() & { return std::get<0>(state_); }
  T&& operator*() && { return std::get<0>(std::move(state_)); }
  const T* operator->() const { return &std::get<0>(state_); }
  T* operator->() { return &std::get<0>(state_); }
  Status status() const { return ok() ? Status() : std::get<1>(state_); }

 private:
  std::variant<T, Status> state_;
};

}  // namespace llmc

// Return early on failure: LLMC_TRY(expr), LLMC_ASSIGN(auto x, result_expr).
#define LLMC_CAT2(a, b) a##b
#define LLMC_CAT(a, b) LLMC_CAT2(a, b)
#define LLMC_TRY(expr)                                        \
  do {                                                        \
    if (::llmc::Status llmc_status = (expr); !llmc_status.ok()) return llmc_status; \
  } while (0)
#define LLMC_ASSIGN(lhs, expr) LLMC_ASSIGN_(LLMC_CAT(llmc_result_, __LINE__), lhs, expr)
#define LLMC_ASSIGN_(tmp, lhs, expr) \
  auto tmp = (expr);                 \
  if (!tmp.ok()) return tmp.status(); \
  lhs = std::move(*tmp)
