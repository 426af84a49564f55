// selftest: this machine's arithmetic and the embedded model against committed answers.
#include <cstdio>

#include "commands/compute.h"
#include "exact/kernels.h"

namespace llmc {

namespace po = boost::program_options;

namespace {

constexpr char selftest_sample[] =
    "The archive was written on one machine and is read on another; every sum is a sum of integers.\n"
    "  if (a != b) return 0xFF; /* caf\xc3\xa9 \xf0\x9f\x93\x9a */\r\n\x00\xff\xfe end";

// Round trip of one small text through every codec of the model.
Status round_trip(Engine& engine) {
  const ByteView text(reinterpret_cast<const uint8_t*>(selftest_sample), sizeof selftest_sample - 1);
  for (const Codec codec : {Codec::range, Codec::mix, Codec::rank}) {
    CodecParameters parameters;
    parameters.codec = codec;
    LLMC_ASSIGN(const Bytes frame, encode_chunk(&engine, parameters, 0, 1, text));
    LLMC_ASSIGN(const Bytes back, decode_frame(&engine, parameters, 0, 1, frame, static_cast<uint32_t>(text.size())));
    if (!std::equal(back.begin(), back.end(), text.begin(), text.end())) {
      return {Code::failure, std::string(codec_name(codec)) + " codec: other bytes came back"};
    }
  }
  return {};
}

bool report(const std::string& what, const Status& status) {
  std::printf("%-28s %s\n", what.c_str(), status.ok() ? "ok" : status.message().c_str());
  return status.ok();
}

}  // namespace

Status run_selftest(Context& context, const Words& words) {
  if (!context.coordinator()) return {};
  OptionSet set("selftest", "llmc-batch selftest [options]",
                "Checks the arithmetic of every instruction set that this CPU has, and each engine with the model.");
  set.group("Options").add_options()
      ("model", po::value<std::string>()->default_value("")->value_name("FILE"), "model file; default: the embedded model");
  bool done = false;
  LLMC_TRY(set.parse(words, true, &done));
  if (done) return {};
  bool good = true;
  for (const std::string& isa : available_isas()) {
    const Result<const Kernels*> kernels = select_kernels(isa);
    good &= report("arithmetic, " + isa, kernels.ok() ? check_arithmetic(**kernels) : kernels.status());
  }
  LLMC_ASSIGN(const std::shared_ptr<const Model> model, open_model(set.get<std::string>("model")));
  for (const std::string name : {"native", "torch"}) {
    if (name == "torch" && !torch_library_present()) {
      std::printf("%-28s not in this build\n", "engine, torch");
      continue;
    }
    const Result<std::unique_ptr<Engine>> engine = open_engine(name, model, "cpu");
    good &= report("engine, " + (engine.ok() ? (*engine)->name() : name), engine.ok() ? round_trip(**engine) : engine.status());
  }
  const Result<int> gpu = choose_device("cuda", "torch", {});
  if (!gpu.ok()) {
    std::printf("%-28s %s\n", "engine, cuda", cuda_text().c_str());
  } else {
    const Result<std::unique_ptr<Engine>> engine = open_engine("torch", model, "cuda");
    good &= report("engine, " + (engine.ok() ? (*engine)->name() : "cuda"), engine.ok() ? round_trip(**engine) : engine.status());
  }
  return good ? Status() : Status(Code::failure, "selftest: this machine must not be used for archives");
}

}  // namespace llmc
