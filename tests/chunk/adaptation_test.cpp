// Chunks of an adapted model, and the fit itself.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "base/file.h"
#include "chunk/codec.h"
#include "chunk/fit_adaptation.h"
#include "model/embedded_model.h"
#include "model/native_engine.h"
#include "stub_engine.h"

namespace llmc {
namespace {

// Lines that no model has read, of a few tokens only.
Bytes records(uint32_t from, size_t bytes) {
  std::string text;
  for (uint32_t i = from; text.size() < bytes; ++i) {
    text += "{\"id\":" + std::to_string(i * 7919 % 10007) + ",\"state\":\"" + (i * 2654435761u >> 31 ? "RUNNING" : "PENDING") +
            "\",\"cpus\":" + std::to_string(8 << i % 3) + "}\n";
  }
  text.resize(bytes);
  return Bytes(text.begin(), text.end());
}

FitOptions fit_options(int threads) {
  FitOptions options;
  options.window = 256;
  options.carry = 64;
  options.threads = threads;
  return options;
}

TEST(FitAdaptation, LearnsAKindOfText) {
  const auto model = *embedded_model();
  const std::vector<Bytes> parts = {records(0, 2000), records(500, 2000), records(900, 1500)};
  double last = 0;
  FitOptions options = fit_options(1);
  options.progress = [&](double part) {
    EXPECT_GT(part, last);
    last = part;
  };
  const auto fitted = fit_adaptation(model, parts, options);
  ASSERT_TRUE(fitted.ok()) << fitted.status().message();
  EXPECT_EQ(last, 1);
  // The same whoever computes it.
  const auto again = fit_adaptation(model, parts, fit_options(3));
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->serialize() == fitted->serialize());

  const auto adapted = *adapt_model(model, fitted->serialize());
  const auto plain_engine = *make_native_engine(model), adapted_engine = *make_native_engine(adapted);
  const Bytes text = records(5000, 1500);
  for (const Codec codec : {Codec::range, Codec::rank, Codec::mix}) {
    CodecParameters parameters{codec, 256, 64};
    const Bytes without = *encode_chunk(plain_engine.get(), parameters, 0, 1, text);
    parameters.adaptation = adapted->adaptation();
    const Bytes with = *encode_chunk(adapted_engine.get(), parameters, 0, 1, text);
    if (codec == Codec::range) EXPECT_LT(with.size() * 100, without.size() * 95);
    const auto back = decode_frame(adapted_engine.get(), parameters, 0, 1, with, static_cast<uint32_t>(text.size()));
    ASSERT_TRUE(back.ok()) << back.status().message();
    EXPECT_TRUE(*back == text);

    // Neither the bare model nor one that is adapted otherwise decodes it, and all say what is missing.
    const Status bare = decode_frame(plain_engine.get(), parameters, 0, 1, with, static_cast<uint32_t>(text.size())).status();
    EXPECT_EQ(bare.code(), Code::model);
    EXPECT_NE(bare.message().find(to_hex(parameters.adaptation)), std::string::npos) << bare.message();
    parameters.adaptation[0] ^= 1;
    EXPECT_EQ(decode_frame(adapted_engine.get(), parameters, 0, 1, with, static_cast<uint32_t>(text.size())).status().code(), Code::model);
    parameters.adaptation = {};
    EXPECT_EQ(decode_frame(adapted_engine.get(), parameters, 0, 1, without, static_cast<uint32_t>(text.size())).status().code(), Code::model);
  }
}

TEST(FitAdaptation, NeedsTextAndStops) {
  const auto model = *embedded_model();
  const std::vector<Bytes> none = {Bytes(), Bytes()};
  EXPECT_EQ(fit_adaptation(model, none, fit_options(2)).status().code(), Code::failure);
  const std::vector<Bytes> parts = {records(0, 3000)};
  FitOptions options = fit_options(2);
  options.stop = [] { return true; };
  EXPECT_EQ(fit_adaptation(model, parts, options).status().code(), Code::interrupted);
}

// Empty parts, tiny ones, bytes that are no text, and more threads than parts.
TEST(FitAdaptation, TakesWhateverASampleHolds) {
  const auto model = *embedded_model();
  Bytes all_bytes;
  for (int i = 0; i < 1024; ++i) all_bytes.push_back(static_cast<uint8_t>(i * 167 >> 1));
  const std::vector<Bytes> parts = {Bytes(), Bytes(1, 0xFF), all_bytes, Bytes(), Bytes(600, 0x80), Bytes(1, 'a'), Bytes(500, 0)};
  const auto fitted = fit_adaptation(model, parts, fit_options(1));
  ASSERT_TRUE(fitted.ok()) << fitted.status().message();
  EXPECT_TRUE(adapt_model(model, fitted->serialize()).ok());
  EXPECT_TRUE(fit_adaptation(model, parts, fit_options(40))->serialize() == fitted->serialize());
}

// Memory for what a thread has seen, not for each part: a MiB in chunks of 256 bytes has thousands.
TEST(FitAdaptation, TakesManySmallParts) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "not run: AddressSanitizer keeps what is freed";
#endif
  const auto model = *embedded_model();
  const std::vector<Bytes> parts(4000, Bytes(1, 'x'));
  FitOptions options = fit_options(2);
  options.window = 16;
  options.carry = 4;
  options.passes = 1;
  const auto peak = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss >> 10;  // MiB
  };
  const long before = peak();
  ASSERT_TRUE(fit_adaptation(model, parts, options).ok());
  EXPECT_LT(peak() - before, 100) << "MiB for " << model->config().vocab << " ids";
}

TEST(Parameters, WithAnAdaptation) {
  CodecParameters parameters{Codec::mix, 1024, 256};
  parameters.adaptation.fill(0xAD);
  const std::string digest = to_hex(parameters.adaptation);
  EXPECT_EQ(to_hex(parameters.serialize()), "030004000000010000" + digest);
  parameters.dictionary = 4096;
  parameters.only_if_worth = true;
  EXPECT_EQ(to_hex(parameters.serialize()), "030004000000010000" "0010000001" + digest);
  const auto both = CodecParameters::parse(parameters.serialize());
  ASSERT_TRUE(both.ok()) << both.status().message();
  EXPECT_EQ(both->adaptation, parameters.adaptation);
  EXPECT_EQ(both->dictionary, 4096u);
  EXPECT_TRUE(both->only_if_worth);
  const Bytes bytes = parameters.serialize();
  for (size_t size = 0; size <= bytes.size(); ++size) {
    const bool known = size == 9 || size == 14 || size == 41 || size == 46;  // no other length is one
    EXPECT_EQ(CodecParameters::parse(ByteView(bytes).first(size)).ok(), known) << size;
  }
  Bytes bad = bytes;
  std::fill(bad.end() - 32, bad.end(), uint8_t{0});
  EXPECT_EQ(CodecParameters::parse(bad).status().code(), Code::corrupt);  // no digest is all zeros
  parameters.dictionary = 0;
  bad = parameters.serialize();
  bad[0] = static_cast<uint8_t>(Codec::zstd);
  EXPECT_EQ(CodecParameters::parse(bad).status().code(), Code::corrupt);  // zstd needs no model
}

}  // namespace
}  // namespace llmc
