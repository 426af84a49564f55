#include "comm/mpi_comm.h"

// The C interface only: the C++ bindings of old would need a library of their own.
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <functional>
#include <list>
#include <thread>

namespace llmc {
namespace {

using Clock = std::chrono::steady_clock;
using Duration = Comm::Duration;
using std::chrono::microseconds;

Status mpi_status(int error, const std::string& what) {
  if (error == MPI_SUCCESS) return {};
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(error, text, &length);
  return {Code::failure, "MPI: " + what + ": " + std::string(text, length)};
}

bool mpi_running() {
  int begun = 0, ended = 0;
  MPI_Initialized(&begun);
  MPI_Finalized(&ended);
  return begun && !ended;
}

// Sleeps between polls, so that a rank that waits costs no core: nothing for the first
// polls, then 50 us doubling to 1 ms. A large message moves only while MPI is polled, piece
// by piece: for as long as it should take on a middling network (200 MB/s) the wait is a
// mere yield, after that short.
class Backoff {
 public:
  // `moving`: bytes on their way to or from here.
  void pause(Clock::time_point end, size_t moving) {
    const auto now = Clock::now();
    if (++polls_ <= 20 || now - begun_ < std::chrono::nanoseconds(5) * moving) {
      std::this_thread::yield();
      return;
    }
    const auto limit = moving ? microseconds(50) : microseconds(1000);
    const auto left = std::chrono::duration_cast<microseconds>(end - now);
    std::this_thread::sleep_for(std::clamp(std::min(wait_, left), microseconds(0), limit));
    wait_ = std::min(wait_ * 2, microseconds(1000));
  }
  void restart() {
    polls_ = 0;
    begun_ = Clock::now();
    wait_ = microseconds(50);
  }

 private:
  int polls_ = 0;
  Clock::time_point begun_ = Clock::now();
  microseconds wait_{50};
};

class MpiComm : public Comm {
 public:
  // Collectives go in blocks of this size; a Bcast counts in int.
  static constexpr size_t block = size_t{256} << 20;
  // No new message is taken in while this much is still arriving.
  static constexpr size_t max_arriving = size_t{256} << 20;

  static Result<std::unique_ptr<Comm>> make() {
    std::unique_ptr<MpiComm> comm(new MpiComm);
    LLMC_TRY(mpi_status(MPI_Comm_dup(MPI_COMM_WORLD, &comm->world_), "MPI_Comm_dup"));
    LLMC_TRY(mpi_status(MPI_Comm_dup(MPI_COMM_WORLD, &comm->collectives_), "MPI_Comm_dup"));
    MPI_Comm_set_errhandler(comm->world_, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(comm->collectives_, MPI_ERRORS_RETURN);
    MPI_Comm_rank(comm->world_, &comm->rank_);
    MPI_Comm_size(comm->world_, &comm->size_);
    LLMC_TRY(comm->find_node());
    return std::unique_ptr<Comm>(std::move(comm));
  }

  ~MpiComm() override {
    // What has not left by now belongs to a rank that is gone or the job is failing: MPI may
    // still read those buffers, so they stay.
    if (mpi_running() && world_ != MPI_COMM_NULL && !progress().ok()) broken_ = true;
    const bool clean = mpi_running() && sends_.empty() && arrivals_.empty() && !broken_;
    if (!sends_.empty()) new std::vector<Send>(std::move(sends_));        // NOLINT: kept on purpose
    if (!arrivals_.empty()) new std::list<Arrival>(std::move(arrivals_));  // NOLINT
    if (!clean) return;
    if (world_ != MPI_COMM_NULL) MPI_Comm_free(&world_);
    if (collectives_ != MPI_COMM_NULL) MPI_Comm_free(&collectives_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  const std::vector<int>& node_ranks() const override { return node_; }

  Status send(int to, int tag, Bytes bytes) override {
    LLMC_TRY(check_rank(to));
    if (tag < 0 || tag > max_tag) return {Code::failure, "message tag " + std::to_string(tag) + " out of range"};
    if (bytes.size() > max_message) return {Code::failure, "a message may be up to 1 GiB"};
    MPI_Request request;
    const int error = MPI_Isend(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, to, tag, world_, &request);
    if (error != MPI_SUCCESS) return mpi_status(error, "send to rank " + std::to_string(to));
    leaving_ += bytes.size();
    sends_.push_back({to, std::move(bytes)});
    send_requests_.push_back(request);
    return {};
  }

  Result<std::optional<Message>> receive(Duration wait) override {
    const auto end = Clock::now() + wait;
    Backoff backoff;
    size_t events = events_;
    for (;;) {
      LLMC_TRY(progress());
      std::optional<Message> message = arrived();
      if (message) return message;
      if (Clock::now() >= end) return std::optional<Message>();
      if (events != events_) {
        events = events_;
        backoff.restart();
      }
      backoff.pause(end, arriving_ + leaving_);
    }
  }

  Status flush(Duration deadline) override {
    const auto end = Clock::now() + deadline;
    Backoff backoff;
    for (;;) {
      LLMC_TRY(progress());
      if (sends_.empty()) return {};
      if (Clock::now() >= end) {
        return {Code::failure, "rank " + std::to_string(sends_.front().to) + " did not take a message in time"};
      }
      backoff.pause(end, leaving_);
    }
  }

  Status broadcast(int root, Bytes* bytes, Duration deadline) override {
    LLMC_TRY(check_collective(root));
    const auto end = Clock::now() + deadline;
    auto length = std::make_shared<uint64_t>(bytes->size());
    MPI_Request request;
    LLMC_TRY(collective(MPI_Ibcast(length.get(), 1, MPI_UINT64_T, root, collectives_, &request), &request, end,
                        "broadcast from rank " + std::to_string(root), length));
    auto data = std::make_shared<Bytes>();
    if (rank_ == root) {
      data->swap(*bytes);
    } else {
      data->resize(*length);
    }
    Status status;
    for (size_t at = 0; at < *length && status.ok(); at += block) {
      const int n = static_cast<int>(std::min<uint64_t>(block, *length - at));
      status = collective(MPI_Ibcast(data->data() + at, n, MPI_BYTE, root, collectives_, &request), &request, end,
                          "broadcast from rank " + std::to_string(root), data, static_cast<size_t>(n));
    }
    if (status.ok()) {
      bytes->swap(*data);
    } else if (rank_ == root) {
      *bytes = *data;  // MPI may still read the original
    }
    return status;
  }

  Result<std::vector<Bytes>> gather(int root, Bytes bytes, Duration deadline) override {
    LLMC_TRY(check_collective(root));
    if (bytes.size() > max_message) return Status(Code::failure, "a part of a gather may be up to 1 GiB");
    const auto end = Clock::now() + deadline;
    const std::string what = "gather to rank " + std::to_string(root);
    struct Sizes {
      uint64_t mine = 0;
      std::vector<uint64_t> all;
    };
    auto sizes = std::make_shared<Sizes>();
    sizes->mine = bytes.size();
    if (rank_ == root) sizes->all.resize(size_);
    MPI_Request request;
    const int begun = MPI_Igather(&sizes->mine, 1, MPI_UINT64_T, sizes->all.data(), 1, MPI_UINT64_T, root, collectives_,
                                  &request);
    LLMC_TRY(collective(begun, &request, end, what, sizes));
    // The parts themselves one to one: Gatherv counts their sum in int.
    auto part = std::make_shared<Bytes>(std::move(bytes));
    if (rank_ != root) {
      const int count = static_cast<int>(part->size());
      const int error = MPI_Isend(part->data(), count, MPI_BYTE, root, 0, collectives_, &request);
      LLMC_TRY(collective(error, &request, end, what, part, part->size()));
      return std::vector<Bytes>();
    }
    std::vector<Bytes> parts(size_);
    for (int from = 0; from < size_; ++from) {
      if (from == root) {
        parts[from] = std::move(*part);
        continue;
      }
      auto in = std::make_shared<Bytes>(sizes->all[from]);
      const int count = static_cast<int>(in->size());
      const int error = MPI_Irecv(in->data(), count, MPI_BYTE, from, 0, collectives_, &request);
      LLMC_TRY(collective(error, &request, end, "gather from rank " + std::to_string(from), in, in->size()));
      parts[from] = std::move(*in);
    }
    return parts;
  }

  Status barrier(Duration deadline) override {
    LLMC_TRY(check_collective(0));
    MPI_Request request;
    return collective(MPI_Ibarrier(collectives_, &request), &request, Clock::now() + deadline, "barrier",
                      std::shared_ptr<void>());
  }

 private:
  struct Send {
    int to;
    Bytes bytes;
  };
  struct Arrival {
    MPI_Request request;
    Message message;
    bool complete;
  };

  MpiComm() = default;

  Status find_node() {
    MPI_Comm node = MPI_COMM_NULL;
    LLMC_TRY(mpi_status(MPI_Comm_split_type(world_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &node),
                        "MPI_Comm_split_type"));
    MPI_Group here = MPI_GROUP_NULL, all = MPI_GROUP_NULL;
    MPI_Comm_group(node, &here);
    MPI_Comm_group(world_, &all);
    int n = 0;
    MPI_Group_size(here, &n);
    std::vector<int> local(n);
    for (int i = 0; i < n; ++i) local[i] = i;
    node_.resize(n);
    const int error = MPI_Group_translate_ranks(here, n, local.data(), all, node_.data());
    std::sort(node_.begin(), node_.end());
    MPI_Group_free(&here);
    MPI_Group_free(&all);
    MPI_Comm_free(&node);
    return mpi_status(error, "MPI_Group_translate_ranks");
  }

  Status check_rank(int rank) const {
    if (rank >= 0 && rank < size_) return {};
    return {Code::failure, "no rank " + std::to_string(rank) + " in a world of " + std::to_string(size_)};
  }
  Status check_collective(int root) const {
    if (broken_) return {Code::failure, "MPI: an earlier collective call did not end"};
    return check_rank(root);
  }

  // Completes finished sends, starts receiving what has been announced, completes arrivals.
  Status progress() {
    LLMC_TRY(finish_sends());
    while (arriving_ < max_arriving) {
      int found = 0;
      MPI_Message handle;
      MPI_Status status;
      LLMC_TRY(mpi_status(MPI_Improbe(MPI_ANY_SOURCE, MPI_ANY_TAG, world_, &found, &handle, &status), "MPI_Improbe"));
      if (!found) break;
      int count = 0;
      MPI_Get_count(&status, MPI_BYTE, &count);
      if (count < 0 || static_cast<size_t>(count) > max_message) {
        return {Code::failure, "MPI: rank " + std::to_string(status.MPI_SOURCE) + " sent more than 1 GiB at once"};
      }
      arrivals_.push_back({MPI_REQUEST_NULL, {status.MPI_SOURCE, status.MPI_TAG, Bytes(count)}, false});
      Arrival& a = arrivals_.back();
      arriving_ += a.message.bytes.size();
      ++events_;
      LLMC_TRY(mpi_status(MPI_Imrecv(a.message.bytes.data(), count, MPI_BYTE, &handle, &a.request),
                          "receive from rank " + std::to_string(a.message.from)));
      LLMC_TRY(test(a));
      // Enough to hand out: the rest keeps its place in MPI's own queue.
      if (a.complete) break;
    }
    for (Arrival& a : arrivals_) LLMC_TRY(test(a));
    return {};
  }

  // All in one call: each MPI_Test of an unfinished request runs MPI's whole machinery.
  Status finish_sends() {
    if (sends_.empty()) return {};
    int count = 0;
    done_.resize(sends_.size());
    LLMC_TRY(mpi_status(MPI_Testsome(static_cast<int>(sends_.size()), send_requests_.data(), &count, done_.data(),
                                     MPI_STATUSES_IGNORE),
                        "sends"));
    if (count <= 0) return {};
    ++events_;
    std::sort(done_.begin(), done_.begin() + count, std::greater<>());
    for (int i = 0; i < count; ++i) {
      const int at = done_[i];
      leaving_ -= sends_[at].bytes.size();
      std::swap(sends_[at], sends_.back());
      std::swap(send_requests_[at], send_requests_.back());
      sends_.pop_back();
      send_requests_.pop_back();
    }
    return {};
  }

  Status test(Arrival& a) {
    if (a.complete) return {};
    int done = 0;
    const int error = MPI_Test(&a.request, &done, MPI_STATUS_IGNORE);
    if (error != MPI_SUCCESS) return mpi_status(error, "receive from rank " + std::to_string(a.message.from));
    if (done) {
      a.complete = true;
      ++events_;
    }
    return {};
  }

  // The first complete message that has no incomplete one of the same sender before it.
  std::optional<Message> arrived() {
    std::vector<int> held_up;
    for (auto a = arrivals_.begin(); a != arrivals_.end(); ++a) {
      if (std::find(held_up.begin(), held_up.end(), a->message.from) != held_up.end()) continue;
      if (!a->complete) {
        held_up.push_back(a->message.from);
        continue;
      }
      std::optional<Message> message(std::move(a->message));
      arriving_ -= message->bytes.size();
      arrivals_.erase(a);
      return message;
    }
    return std::nullopt;
  }

  // Waits for one request that MPI has just started, of `size` bytes. `buffer` is what it works
  // on: past the deadline MPI still owns that, so it is kept for the life of the process.
  Status collective(int error, MPI_Request* request, Clock::time_point end, const std::string& what,
                    std::shared_ptr<void> buffer, size_t size = 0) {
    if (error != MPI_SUCCESS) {
      broken_ = true;
      return mpi_status(error, what);
    }
    Backoff backoff;
    for (;;) {
      int done = 0;
      if (const int e = MPI_Test(request, &done, MPI_STATUS_IGNORE); e != MPI_SUCCESS) {
        broken_ = true;
        return mpi_status(e, what);
      }
      if (done) return {};
      if (Clock::now() >= end) {
        broken_ = true;
        new std::shared_ptr<void>(std::move(buffer));  // NOLINT: kept on purpose
        return {Code::failure, "MPI: " + what + " did not end in time"};
      }
      backoff.pause(end, size);
    }
  }

  MPI_Comm world_ = MPI_COMM_NULL;
  // A part of a gather must not be taken for a message by a root that is still in receive().
  MPI_Comm collectives_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
  std::vector<int> node_;
  std::vector<Send> sends_;                 // a moved Bytes keeps its buffer, which MPI reads
  std::vector<MPI_Request> send_requests_;  // of sends_
  std::vector<int> done_;
  std::list<Arrival> arrivals_;
  size_t arriving_ = 0;  // bytes in arrivals_
  size_t leaving_ = 0;   // bytes in sends_
  size_t events_ = 0;    // counts what moved, so that waiting starts over
  bool broken_ = false;
};

}  // namespace

bool launched_by_mpi() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}) {
    const char* value = std::getenv(name);
    if (value && *value) return true;
  }
  return false;
}

MpiSession::MpiSession() : exceptions_(std::uncaught_exceptions()) {}

Result<std::unique_ptr<MpiSession>> MpiSession::start() {
  int begun = 0;
  MPI_Initialized(&begun);
  if (begun) return Status(Code::failure, "MPI was started before");
  int provided = 0;
  LLMC_TRY(mpi_status(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread"));
  std::unique_ptr<MpiSession> session(new MpiSession);
  if (provided < MPI_THREAD_FUNNELED) {
    return Status(Code::failure, "this MPI does not allow threads beside its own (MPI_THREAD_FUNNELED)");
  }
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  return session;
}

MpiSession::~MpiSession() {
  if (!mpi_running()) return;
  if (std::uncaught_exceptions() > exceptions_) abort_job(exit_code(Code::failure));
  MPI_Finalize();
}

Result<std::unique_ptr<Comm>> make_mpi_comm() {
  if (!mpi_running()) return Status(Code::failure, "MPI is not running");
  return MpiComm::make();
}

std::string mpi_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  if (MPI_Get_library_version(text, &length) != MPI_SUCCESS) return "MPI";
  const std::string all(text, static_cast<size_t>(length));
  return all.substr(0, all.find_first_of(",\n"));
}

void abort_job(int code) {
  if (mpi_running()) MPI_Abort(MPI_COMM_WORLD, code);
  std::_Exit(code);
}

}  // namespace llmc
