# Things of the machine that make builds faster: compiler cache, linker.
include(CheckLinkerFlag)

find_program(LLMC_CCACHE ccache DOC "Compiler cache; empty for none")
mark_as_advanced(LLMC_CCACHE)
if(LLMC_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${LLMC_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${LLMC_CCACHE})
endif()

set(llmc_linker "default")
foreach(linker mold lld)
  check_linker_flag(CXX -fuse-ld=${linker} LLMC_LINKER_${linker})
  if(LLMC_LINKER_${linker})
    target_link_options(llmc_flags INTERFACE -fuse-ld=${linker})
    set(llmc_linker ${linker})
    break()
  endif()
endforeach()
