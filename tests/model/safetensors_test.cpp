#include "model/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace llmc {
namespace {

Bytes file_of(const std::string& header, size_t data) {
  ByteWriter out;
  out.u64(header.size());
  out.bytes(as_bytes(header));
  out.bytes(Bytes(data, 7));
  return out.take();
}

std::string problem(const std::string& header, size_t data) {
  const auto parsed = Safetensors::parse(file_of(header, data));
  return parsed.ok() ? "" : parsed.status().message();
}

TEST(Safetensors, ReadsWhatItWrites) {
  const Bytes a{1, 2, 3, 4, 5, 6, 7, 8}, b{9, 10, 11};
  const std::vector<Tensor> tensors{
      {"first", DType::f32, {2, 1}, a}, {"empty", DType::u8, {0, 5}, {}}, {"last", DType::i8, {3}, b}};
  const Bytes file = write_safetensors({{"key", "value \"quoted\" \n"}}, tensors);
  const auto parsed = Safetensors::parse(file);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->metadata().at("key"), "value \"quoted\" \n");
  ASSERT_EQ(parsed->tensors().size(), 3u);
  const Tensor* first = parsed->find("first");
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(first->type, DType::f32);
  EXPECT_EQ(first->shape_text(), "[2, 1]");
  EXPECT_EQ(Bytes(first->data.begin(), first->data.end()), a);
  EXPECT_EQ((first->data.data() - file.data()) % 64, 0);
  EXPECT_EQ(parsed->find("last")->data.size(), 3u);
  EXPECT_EQ(parsed->find("nothing"), nullptr);
}

TEST(Safetensors, ReadsTheFormatOfOtherWriters) {
  EXPECT_EQ(problem(R"({"a":{"dtype":"F64","shape":[],"data_offsets":[0,8]}}   )", 8), "");
  EXPECT_EQ(problem(R"({"__metadata__":{},"b":{"data_offsets":[2,4],"shape":[1],"dtype":"BF16"},)"
                    R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
                    4),
            "");
  EXPECT_EQ(problem("{}", 0), "");
}

TEST(Safetensors, RefusesWhatIsWrongAndSaysWhere) {
  const auto named = [](const std::string& fields, size_t data) {
    return problem("{\"weird\":{" + fields + "}}", data);
  };
  const std::string good = R"("dtype":"I8","shape":[4],"data_offsets":[0,4])";
  ASSERT_EQ(named(good, 4), "");
  const struct {
    const char* fields;
    const char* expected;
  } cases[] = {
      {R"("dtype":"I9","shape":[4],"data_offsets":[0,4])", "dtype I9"},
      {R"("shape":[4],"data_offsets":[0,4])", "lacks"},
      {R"("dtype":"I8","data_offsets":[0,4])", "lacks"},
      {R"("dtype":"I8","shape":[4])", "lacks"},
      {R"("dtype":"I8","shape":[4],"data_offsets":[0])", "lacks"},
      {R"("dtype":"I8","shape":[4],"data_offsets":[0,4,4])", "more than two"},
      {R"("dtype":"I8","shape":[5],"data_offsets":[0,4])", "5 bytes"},
      {R"("dtype":"F32","shape":[4],"data_offsets":[0,4])", "16 bytes"},
      {R"("dtype":"I8","shape":[4],"data_offsets":[4,0])", "past the end"},
      {R"("dtype":"I8","shape":[5],"data_offsets":[0,5])", "past the end"},
      {R"("dtype":"I8","shape":[4294967296,4294967296],"data_offsets":[0,0])", "too large"},
      {R"("dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0])", "too large"},
      {R"("dtype":"I8","shape":[-4],"data_offsets":[0,4])", "wrong kind"},
      {R"("dtype":"I8","shape":[4.0],"data_offsets":[0,4])", "wrong kind"},
      {R"("dtype":"I8","shape":"4","data_offsets":[0,4])", "wrong kind"},
      {R"("dtype":8,"shape":[4],"data_offsets":[0,4])", "wrong kind"},
      {R"("dtype":"I8","shape":[[4]],"data_offsets":[0,4])", "wrong kind"},
      {R"("dtype":"I8","shape":[1,1,1,1,1,1,1,1,4],"data_offsets":[0,4])", "8 dimensions"},
      {R"("dtype":"I8","dtype":"U8","shape":[4],"data_offsets":[0,4])", "repeated"},
      {R"("dtype":"I8","shape":[4],"data_offsets":[0,4],"more":1)", "unknown or repeated"},
  };
  for (const auto& c : cases) {
    const std::string message = named(c.fields, 4);
    EXPECT_NE(message.find(c.expected), std::string::npos) << c.fields << " gave: " << message;
    EXPECT_NE(message.find("weird"), std::string::npos) << message;
  }
  const std::string a = R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]},)";
  EXPECT_NE(problem(a + R"("b":{"dtype":"I8","shape":[4],"data_offsets":[2,6]}})", 6).find("overlaps"),
            std::string::npos);
  EXPECT_NE(problem(a + R"("b":{"dtype":"I8","shape":[1],"data_offsets":[5,6]}})", 6).find("gap"), std::string::npos);
  EXPECT_NE(problem(a + R"("a":{"dtype":"I8","shape":[2],"data_offsets":[4,6]}})", 6).find("twice"), std::string::npos);
  EXPECT_NE(problem(R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]}})", 9).find("5 bytes after"),
            std::string::npos);
  EXPECT_NE(problem(R"({"__metadata__":{"a":1}})", 0).find("wrong kind"), std::string::npos);
  EXPECT_NE(problem(R"({"__metadata__":{"a":"b","a":"c"}})", 0).find("repeated"), std::string::npos);
  EXPECT_NE(problem(R"({"a":[]})", 0).find("wrong kind"), std::string::npos);
  EXPECT_NE(problem(R"({"a":{"dtype")", 0).find("not JSON"), std::string::npos);
  EXPECT_FALSE(Safetensors::parse(as_bytes("")).ok());
  EXPECT_FALSE(Safetensors::parse(as_bytes("1234567")).ok());
  // A header length beyond the file, and beyond all reason.
  Bytes file = file_of("{}", 0);
  file[0] = 200;
  EXPECT_FALSE(Safetensors::parse(file).ok());
  file[7] = 255;
  EXPECT_FALSE(Safetensors::parse(file).ok());
  // Nesting costs nothing: the first wrong value ends it.
  EXPECT_FALSE(Safetensors::parse(file_of("{\"a\":" + std::string(1 << 20, '['), 0)).ok());
}

TEST(Safetensors, SurvivesDamageOfEveryHeaderByte) {
  const Bytes a(8, 1), b(3, 2);
  const Bytes file = write_safetensors({{"k", "v"}}, {{"first", DType::f32, {2}, a}, {"last", DType::i8, {3}, b}});
  std::minstd_rand random(1);
  for (size_t i = 0; i < file.size(); ++i) {
    for (int n = 0; n < 8; ++n) {
      Bytes damaged = file;
      damaged[i] = static_cast<uint8_t>(random() >> 8);
      const auto parsed = Safetensors::parse(damaged);
      if (!parsed.ok()) {
        EXPECT_FALSE(parsed.status().message().empty());
        continue;
      }
      for (const Tensor& t : parsed->tensors()) {
        EXPECT_GE(t.data.data(), damaged.data());
        EXPECT_LE(t.data.data() + t.data.size(), damaged.data() + damaged.size());
      }
    }
    EXPECT_FALSE(Safetensors::parse(ByteView(file).first(i)).ok());
  }
}

}  // namespace
}  // namespace llmc
