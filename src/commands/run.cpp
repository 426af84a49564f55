// run JOB: what a job file describes, from the plan to the check of the finished archive.
#include <cstdio>

#include "commands/verb.h"

namespace llmc {
namespace {

constexpr const char* help =
    "Usage: llmc-batch run JOB [--dry-run] [options of compress]\n\n"
    "Runs a job file: one 'name = value' a line, with the options of 'llmc-batch compress' without their dashes,\n"
    "'input = PATH' for each input and 'output = OUT' among them. Options given here win over the file's; --config FILE\n"
    "adds those of a machine (configs/). At the end the archive's digests are checked; 'check = data' decodes all of it,\n"
    "'check = none' leaves that out. --dry-run says what the job would take. An interrupted job goes on when it is run\n"
    "again. Examples are in jobs/.\n";

}  // namespace

// A job file holds the options of compress, inputs and output too: so it is compress that runs it.
Status run_job_file(Context& context, const Words& words) {
  if (!words.empty() && (words[0] == "--help" || words[0] == "-h")) {
    if (context.coordinator()) std::fputs(help, stdout);
    return {};
  }
  if (words.empty() || words[0].starts_with('-')) {
    return {Code::usage, "run: the job file comes first; 'llmc-batch run --help' says what stands in one"};
  }
  Words rest = {"--config", words[0]};
  rest.insert(rest.end(), words.begin() + 1, words.end());
  return run_compress_job(context, rest);
}

}  // namespace llmc
