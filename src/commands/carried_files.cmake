# Writes carried_files.cpp (see carried_files.h): the assembler copies each file into read-only data.
set(carried LICENSE docs/FORMAT.md docs/MIX.md docs/MODEL.md docs/NUMERICS.md)
file(GLOB reference RELATIVE ${CMAKE_SOURCE_DIR} CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tools/reference/*.py)
list(REMOVE_ITEM reference tools/reference/frequencies.py) # for developers
list(APPEND carried ${reference})

set(paths)
set(data)
set(symbols)
set(rows)
set(number 0)
foreach(file ${carried})
  get_filename_component(name ${file} NAME)
  set(symbol llmc_carried_${number})
  list(APPEND paths ${CMAKE_SOURCE_DIR}/${file})
  string(APPEND data "  .globl ${symbol}_begin\n  .hidden ${symbol}_begin\n${symbol}_begin:\n"
    "  .incbin \"${CMAKE_SOURCE_DIR}/${file}\"\n  .globl ${symbol}_end\n  .hidden ${symbol}_end\n${symbol}_end:\n  .byte 0\n")
  string(APPEND symbols "extern const uint8_t ${symbol}_begin[], ${symbol}_end[];\n")
  string(APPEND rows "    {\"${name}\", {${symbol}_begin, ${symbol}_end}},\n")
  math(EXPR number "${number} + 1")
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/carried_files.cpp @ONLY CONTENT
[[// Made by src/commands/carried_files.cmake.
#include "commands/carried_files.h"

asm(R"(
  .pushsection .rodata
@data@  .popsection
)");

extern "C" {
@symbols@}

namespace llmc {

std::vector<CarriedFile> carried_files() {
  return {
@rows@  };
}

}  // namespace llmc
]])
set_source_files_properties(${CMAKE_CURRENT_BINARY_DIR}/carried_files.cpp PROPERTIES OBJECT_DEPENDS "${paths}")
