# Target llmc_build_info: whoever links it may include "build_info.h" (version, commit, compiler).
set(build_info_folder ${CMAKE_BINARY_DIR}/generated)
add_custom_target(llmc_build_info_header
  COMMAND ${CMAKE_COMMAND} -DSOURCE=${CMAKE_SOURCE_DIR} -DOUT=${build_info_folder}/build_info.h
          -DVERSION=${PROJECT_VERSION} -DBUILD_TYPE=${CMAKE_BUILD_TYPE}
          "-DCOMPILER=${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}"
          -P ${CMAKE_SOURCE_DIR}/cmake/write_build_info.cmake
  BYPRODUCTS ${build_info_folder}/build_info.h
  COMMENT "" VERBATIM)
add_library(llmc_build_info INTERFACE)
target_include_directories(llmc_build_info INTERFACE ${build_info_folder})
add_dependencies(llmc_build_info llmc_build_info_header)
