// Fields of JSON objects with bounds and one-sentence errors; for the model file and for config.json.
// Internal to src/model.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "base/status.h"

namespace llmc {

// A JSON object; Code::model otherwise.
inline Result<nlohmann::json> parse_object(std::string_view text, const std::string& what) {
  nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
  if (!value.is_object()) return Status(Code::model, what + " is not a JSON object");
  return value;
}

inline Result<int64_t> int_field(const nlohmann::json& object, const char* name, int64_t least, int64_t greatest) {
  const auto it = object.find(name);
  if (it == object.end()) return Status(Code::model, fmt::format("field {} is missing", name));
  const bool fits =
      it->is_number_integer() && !(it->is_number_unsigned() && it->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX));
  if (!fits || it->get<int64_t>() < least || it->get<int64_t>() > greatest) {
    return Status(
        Code::model,
        fmt::format("field {} is {}, not a number from {} to {}", name,
                    it->dump(-1, ' ', true, nlohmann::json::error_handler_t::replace).substr(0, 40), least, greatest));
  }
  return it->get<int64_t>();
}

inline Result<bool> bool_field(const nlohmann::json& object, const char* name) {
  const auto it = object.find(name);
  if (it == object.end() || !it->is_boolean()) {
    return Status(Code::model, fmt::format("field {} is missing or not true or false", name));
  }
  return it->get<bool>();
}

inline Result<std::string> string_field(const nlohmann::json& object, const char* name) {
  const auto it = object.find(name);
  if (it == object.end() || !it->is_string()) {
    return Status(Code::model, fmt::format("field {} is missing or not a text", name));
  }
  return it->get<std::string>();
}

}  // namespace llmc
