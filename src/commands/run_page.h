// A run's report as a page: HTML that needs no other file, no script and no network.
#pragma once

#include <string>

namespace llmc {

// `json`: as RunRecord writes it.
std::string run_page(const std::string& json);

}  // namespace llmc
