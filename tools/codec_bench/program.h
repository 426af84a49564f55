// What the programs of this folder have in common: a command line with files, and the model.
#pragma once

#include <fmt/format.h>

#include <boost/program_options.hpp>
#include <cstdio>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "model/embedded_model.h"
#include "model/model.h"

namespace llmc {

// Adds --help, --model and the files (options["file"], one at least) to the options of `name`, parses and runs. Returns the exit code.
template <class Run>
int run_on_files(const std::string& name, const boost::program_options::options_description& own, int argc, char** argv, const Run& run) {
  namespace po = boost::program_options;
  po::options_description known(name + " FILE...");
  known.add_options()("help", "this text")("file", po::value<std::vector<std::string>>(), "files to code")(
      "model", po::value<std::string>(), "model file (default: the embedded one)");
  for (const auto& option : own.options()) known.add(option);
  po::positional_options_description positional;
  positional.add("file", -1);
  po::variables_map options;
  try {
    po::store(po::command_line_parser(argc, argv).options(known).positional(positional).run(), options);
  } catch (const po::error& error) {
    fmt::print(stderr, "{}: {}\n", name, error.what());
    return 2;
  }
  if (options.count("help") || !options.count("file")) {
    std::ostringstream text;
    text << known;
    fmt::print("{}", text.str());
    return options.count("help") ? 0 : 2;
  }
  if (const Status status = run(options); !status.ok()) {
    fmt::print(stderr, "{}: {}\n", name, status.message());
    return exit_code(status.code());
  }
  return 0;
}

inline Result<std::shared_ptr<const Model>> model_of(const boost::program_options::variables_map& options) {
  return options.count("model") ? Model::load(options["model"].as<std::string>()) : embedded_model();
}

}  // namespace llmc
