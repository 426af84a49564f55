// What fits a model to one kind of text: its bytes, what they do to the head, and that every kernel does the same.
#include "model/adaptation.h"

#include <zstd.h>

#include <bit>
#include <cmath>
#include <set>

#include "model/embedded_model.h"
#include "model/native_engine.h"
#include "transcript.h"

namespace llmc {
namespace {

using namespace test;

Adaptation some(const Model& model, float factor = 1.0625f) {
  Adaptation out;
  out.model = model.digest();
  out.factor = factor;
  for (int id = 0; id < model.config().vocab; ++id) out.bias.push_back(static_cast<int8_t>(id * 37 % 41 - 20));
  return out;
}

void put_u32(Bytes& bytes, size_t at, uint32_t v) {
  for (int i = 0; i < 4; ++i) bytes[at + i] = static_cast<uint8_t>(v >> 8 * i);
}
// With length and checksum that fit.
Bytes sealed(Bytes bytes) {
  if (bytes.size() < 20) return bytes;
  put_u32(bytes, 12, static_cast<uint32_t>(bytes.size()));
  put_u32(bytes, 16, 0);
  put_u32(bytes, 16, crc32c(bytes));
  return bytes;
}
// The same head around another payload.
Bytes with_payload(const Bytes& whole, const Bytes& plain, uint32_t claimed) {
  Bytes bytes(whole.begin(), whole.begin() + 52);
  Bytes packed(ZSTD_compressBound(plain.size()));
  packed.resize(ZSTD_compress(packed.data(), packed.size(), plain.data(), plain.size(), 3));
  bytes.insert(bytes.end(), packed.begin(), packed.end());
  put_u32(bytes, 8, claimed);
  return sealed(bytes);
}

TEST(Adaptation, ComesBack) {
  const auto model = *embedded_model();
  const Adaptation made = some(*model);
  const Bytes bytes = made.serialize();
  const auto back = Adaptation::parse(bytes);
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(back->model, made.model);
  EXPECT_EQ(back->factor, made.factor);
  EXPECT_EQ(back->bias, made.bias);
  EXPECT_EQ(to_hex(ByteView(bytes).first(8)), "8c4c434101000000");
  EXPECT_LE(bytes.size(), max_adaptation_bytes);
}

TEST(Adaptation, DamagedOrForeignBytesAreRefused) {
  const auto model = *embedded_model();
  const Bytes good = some(*model).serialize();
  for (size_t at = 0; at < good.size(); ++at) {
    Bytes bad = good;
    bad[at] = static_cast<uint8_t>(bad[at] ^ (1 << at % 8));
    EXPECT_FALSE(Adaptation::parse(bad).ok()) << at;
    EXPECT_FALSE(Adaptation::parse(ByteView(good).first(at)).ok()) << at;
  }
  Bytes longer = good;
  longer.push_back(0);
  EXPECT_EQ(Adaptation::parse(longer).status().code(), Code::corrupt);
  EXPECT_EQ(Adaptation::parse(sealed(longer)).status().code(), Code::corrupt);  // bytes behind the zstd frame
  Bytes later = good;
  later[4] = 2;
  EXPECT_EQ(Adaptation::parse(sealed(later)).status().code(), Code::failure);
  EXPECT_EQ(Adaptation::parse(sealed(Bytes(good.begin(), good.begin() + 52))).status().code(), Code::corrupt);

  // A checksum that fits is no proof of good will.
  Bytes plain(4 + 100);
  const auto attempt = [&](float factor, uint32_t claimed, uint8_t summand = 3) {
    put_u32(plain, 0, std::bit_cast<uint32_t>(factor));
    plain[20] = summand;
    return Adaptation::parse(with_payload(good, plain, claimed)).status().code();
  };
  EXPECT_EQ(attempt(1, 104), Code::ok);
  EXPECT_EQ(attempt(0.25f, 104), Code::ok);
  EXPECT_EQ(attempt(4, 104), Code::ok);
  for (const float factor : {0.2499f, 4.001f, 0.0f, -1.0f, INFINITY, NAN}) EXPECT_EQ(attempt(factor, 104), Code::corrupt) << factor;
  EXPECT_EQ(attempt(1, 104, 0x80), Code::corrupt);
  for (const uint32_t claimed : {0u, 4u, 103u, 105u, 1u << 19, (1u << 19) + 5, ~0u}) EXPECT_EQ(attempt(1, claimed), Code::corrupt) << claimed;
  // Much text out of few bytes.
  EXPECT_EQ(Adaptation::parse(with_payload(good, Bytes(64u << 20), 64u << 20)).status().code(), Code::corrupt);
  EXPECT_EQ(Adaptation::parse(with_payload(good, Bytes(64u << 20), 104)).status().code(), Code::corrupt);
}

TEST(Adaptation, ChangesTheHeadAlone) {
  const auto base = *embedded_model();
  const Adaptation made = some(*base);
  const auto adapted = adapt_model(base, made.serialize());
  ASSERT_TRUE(adapted.ok()) << adapted.status().message();
  EXPECT_EQ((*adapted)->digest(), base->digest());
  EXPECT_EQ((*adapted)->adaptation(), sha256(made.serialize()));
  EXPECT_EQ(base->adaptation(), Digest{});
  EXPECT_EQ(base->head().parts[0].bias, nullptr);
  const Matrix& head = (*adapted)->head().parts[0];
  EXPECT_EQ(head.w, base->head().parts[0].w);
  EXPECT_EQ((*adapted)->embedding().scale, base->embedding().scale);  // tied, and yet as it was
  for (int id = 0; id < base->config().vocab; id += 97) {
    EXPECT_EQ(head.scale[id], base->head().parts[0].scale[id] * 1.0625f);
    EXPECT_EQ(head.bias[id], static_cast<float>(made.bias[id]) / 16);
  }
}

TEST(Adaptation, OfAnotherModelIsRefused) {
  const auto base = *embedded_model();
  Adaptation foreign = some(*base);
  foreign.model[3] ^= 1;
  const Status status = adapt_model(base, foreign.serialize()).status();
  EXPECT_EQ(status.code(), Code::model);
  EXPECT_NE(status.message().find(to_hex(foreign.model)), std::string::npos) << status.message();
  Adaptation narrow = some(*base);
  narrow.bias.pop_back();
  EXPECT_EQ(adapt_model(base, narrow.serialize()).status().code(), Code::model);
}

std::string run(std::shared_ptr<const Model> model, const std::string& isa, const std::vector<Symbol>& symbols, const Schedule& schedule) {
  const auto engine = make_native_engine(std::move(model), isa);
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  return transcript(**engine, symbols, schedule);
}

TEST(Adaptation, NothingChangesNothing) {
  const auto base = *embedded_model();
  Adaptation none = some(*base, 1);
  std::fill(none.bias.begin(), none.bias.end(), int8_t{0});
  const auto symbols = golden_symbols(*base, 150);
  EXPECT_EQ(run(*adapt_model(base, none.serialize()), "", symbols, {}), run(base, "", symbols, {}));
}

TEST(Adaptation, EveryInstructionSetAndBatchGivesTheSame) {
  for (const int activations : {8, 16}) {
    const auto base = golden_model(activations);
    ASSERT_TRUE(base.ok()) << base.status().message();
    const auto adapted = *adapt_model(*base, some(**base).serialize());
    const auto symbols = golden_symbols(*adapted, 60);
    std::set<std::string> all;
    for (const std::string& isa : available_isas()) {
      all.insert(run(adapted, isa, symbols, {}));
      if (isa != "scalar") all.insert(run(adapted, isa, symbols, {5, 3, 0, Ask::tables}));
    }
    EXPECT_EQ(all.size(), 1u) << activations;
    EXPECT_NE(*all.begin(), run(*base, "", symbols, {}));
  }
}

}  // namespace
}  // namespace llmc
