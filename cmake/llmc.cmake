# Two functions that keep every folder's CMakeLists.txt to a few lines, and flags for all targets.

add_library(llmc_flags INTERFACE)
# -ffp-contract=off stands on every target: bits must not depend on which file a float expression lives in.
target_compile_options(llmc_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wno-unused-parameter -ffp-contract=off>)
target_include_directories(llmc_flags INTERFACE ${CMAKE_SOURCE_DIR}/src)
if(LLMC_SANITIZE)
  target_compile_options(llmc_flags INTERFACE -fsanitize=${LLMC_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(llmc_flags INTERFACE -fsanitize=${LLMC_SANITIZE})
endif()

# llmc_folder(NAME SOURCES file... [LINKS folder...] [PRIVATE library...])
# One static library llmc_NAME for one folder of src/. LINKS are other folders (public), PRIVATE are outside libraries.
function(llmc_folder name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINKS;PRIVATE" ${ARGN})
  add_library(llmc_${name} STATIC ${arg_SOURCES})
  target_link_libraries(llmc_${name} PUBLIC llmc_flags)
  foreach(link ${arg_LINKS})
    target_link_libraries(llmc_${name} PUBLIC llmc_${link})
  endforeach()
  target_link_libraries(llmc_${name} PRIVATE ${arg_PRIVATE})
endfunction()

# llmc_test(NAME SOURCES file... [LINKS folder...] [PRIVATE library...] [TIMEOUT seconds])
# One GoogleTest program test_NAME; each of its tests becomes a CTest test.
function(llmc_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;LINKS;PRIVATE" ${ARGN})
  add_executable(test_${name} ${arg_SOURCES})
  foreach(link ${arg_LINKS})
    target_link_libraries(test_${name} PRIVATE llmc_${link})
  endforeach()
  target_link_libraries(test_${name} PRIVATE llmc_flags GTest::gtest GTest::gtest_main ${arg_PRIVATE})
  target_include_directories(test_${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(test_${name} PRIVATE
    LLMC_SOURCE_DIR="${CMAKE_SOURCE_DIR}" LLMC_BINARY_DIR="${CMAKE_BINARY_DIR}")
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  gtest_discover_tests(test_${name} TEST_PREFIX "${name}." PROPERTIES TIMEOUT ${arg_TIMEOUT} DISCOVERY_TIMEOUT 60)
endfunction()
