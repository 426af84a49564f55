// llmc-batch: finds the verb, starts MPI where mpirun started us, maps Status to exit codes.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string_view>

#include "base/log.h"
#include "base/signals.h"
#include "comm/mpi_comm.h"
#include "commands/options.h"
#include "commands/verb.h"

namespace llmc {
namespace {

struct Verb {
  const char* name;
  const char* summary;  // null: hidden
  Status (*run)(Context&, const Words&);
};

constexpr Verb verbs[] = {
    {"compress", "code files, trees or standard input into an archive", run_compress},
    {"run", "compress what a job file describes, and check it", run_job_file},
    {"plan", "save what an archive will consist of, for many jobs to work on", run_plan},
    {"append", "add new documents to a finished set, as new shards", run_append},
    {"merge", "make one set of the parts that such jobs have made", run_merge},
    {"extract", "give back all or a selection of an archive", run_extract},
    {"list", "names, sizes and documents of an archive", run_list},
    {"info", "what an archive is: sizes, model, parameters", run_info},
    {"verify", "check digests and checksums; --data decodes everything", run_verify},
    {"status", "how far an archive is, and who works on it", run_status},
    {"salvage", "win back what is left of an archive that cannot be opened", run_salvage},
    {"repair", "make damaged files whole again, where the archive has parity", run_repair},
    {"model", "describe a model file, import a checkpoint, fit a model to a kind of text", run_model},
    {"bench", "speed of a model on this machine, beside what the machine can do", run_bench},
    {"selftest", "known answers of this machine's arithmetic", run_selftest},
    {"faults", nullptr, run_faults},
};

std::string usage() {
  std::string text =
      "Usage: llmc-batch VERB [options]\n"
      "       mpirun -n N llmc-batch VERB [options]\n\n"
      "Archives text by coding it with a language model, exactly.\n\n";
  for (const Verb& verb : verbs) {
    if (!verb.summary) continue;
    std::string name = verb.name;
    name.resize(12, ' ');
    text += "  " + name + verb.summary + "\n";
  }
  text += "\n'llmc-batch VERB --help' tells a verb's options; 'llmc-batch --version' what this build holds.\n";
  return text;
}

Status run(Context& context, const Words& words) {
  if (words.empty()) return {Code::usage, "no verb given; 'llmc-batch --help' lists them"};
  const std::string& name = words[0];
  const bool speak = context.coordinator();
  if (name == "--help" || name == "-h" || name == "help") {
    if (speak) std::fputs(usage().c_str(), stdout);
    return {};
  }
  if (name == "--version" || name == "version") {
    if (speak) std::fputs(version_text().c_str(), stdout);
    return {};
  }
  std::vector<std::string> names;
  for (const Verb& verb : verbs) {
    if (name == verb.name) return verb.run(context, Words(words.begin() + 1, words.end()));
    if (verb.summary) names.emplace_back(verb.name);
  }
  const std::string near = nearest_word(name, names);
  return {Code::usage, "unknown verb '" + name + "'" + (near.empty() ? "" : ", did you mean '" + near + "'?")};
}

std::terminate_handler otherwise = nullptr;

// Where a destructor finds no memory (nlohmann::json's takes some) nothing can be caught: the process ends at once, like
// a killed one, but with a sentence and the documented code.
[[noreturn]] void terminated() {
  try {
    if (const std::exception_ptr e = std::current_exception()) std::rethrow_exception(e);
  } catch (const std::bad_alloc&) {
    constexpr std::string_view text = "llmc-batch: out of memory\n";
    (void)!::write(STDERR_FILENO, text.data(), text.size());
    ::_exit(exit_code(Code::failure));
  } catch (...) {
  }
  otherwise();
  std::abort();
}

Status start_mpi(std::unique_ptr<MpiSession>* session, Context* context) {
  context->placement = place_alone(0);
  if (!launched_by_mpi()) return {};
  LLMC_ASSIGN(*session, MpiSession::start());
  LLMC_ASSIGN(context->comm, make_mpi_comm());
  LLMC_ASSIGN(context->placement, place(*context->comm, 0, std::chrono::minutes(5)));
  return {};
}

}  // namespace
}  // namespace llmc

int main(int argc, char** argv) {
  using namespace llmc;
  install_signal_handlers();
  otherwise = std::set_terminate(terminated);
  std::unique_ptr<MpiSession> mpi;
  Context context;
  Status status;
  try {
    status = start_mpi(&mpi, &context);
    log::setup(context.size() > 1 ? context.rank() : -1, "info");
    if (status.ok()) status = run(context, Words(argv + 1, argv + argc));
  } catch (const std::exception& e) {
    const bool memory = dynamic_cast<const std::bad_alloc*>(&e);
    status = Status(Code::failure, memory ? "out of memory" : std::string("internal error: ") + e.what());
    std::fprintf(stderr, "llmc-batch: %s\n", status.message().c_str());
    // The other ranks wait for messages that will not come.
    if (mpi && context.size() > 1) abort_job(exit_code(status.code()));
    return exit_code(status.code());
  }
  if (context.coordinator() && !status.ok() && !status.message().empty()) {
    std::fprintf(stderr, "llmc-batch: %s\n", status.message().c_str());
  }
  // One rank alone speaks through its exit code: the first that is not 0 makes mpirun end the rest.
  const int code = context.coordinator() ? exit_code(status.code()) : 0;
  if (context.rank_lost) abort_job(137);  // mpirun's own code for a lost rank, upon which scripts repeat the command
  context.comm.reset();
  mpi.reset();
  return code;
}
