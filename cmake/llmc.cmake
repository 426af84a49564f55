# Two functions that keep every folder's CMakeLists.txt to a few lines, and flags for all targets.

add_library(llmc_flags INTERFACE)
# -ffp-contract=off stands on every target: bits must not depend on which file a float expression lives in.
target_compile_options(llmc_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wno-unused-parameter -ffp-contract=off>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(llmc_flags INTERFACE -Wno-restrict) # false alarms in std::string, GCC bug 105651
endif()
target_include_directories(llmc_flags INTERFACE ${CMAKE_SOURCE_DIR}/src)
if(LLMC_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "LLMC_FUZZ needs clang: cmake --preset fuzz")
  endif()
  target_compile_options(llmc_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(LLMC_SANITIZE)
  target_compile_options(llmc_flags INTERFACE -fsanitize=${LLMC_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(llmc_flags INTERFACE -fsanitize=${LLMC_SANITIZE})
endif()

# llmc_folder(NAME SOURCES file... [LINKS folder...] [PRIVATE library...])
# One static library llmc_NAME for one folder of src/. LINKS are other folders (public), PRIVATE are outside libraries.
function(llmc_folder name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINKS;PRIVATE" ${ARGN})
  add_library(llmc_${name} STATIC ${arg_SOURCES})
  set_target_properties(llmc_${name} PROPERTIES UNITY_BUILD ${LLMC_UNITY} UNITY_BUILD_BATCH_SIZE 12)
  target_link_libraries(llmc_${name} PUBLIC llmc_flags)
  foreach(link ${arg_LINKS})
    target_link_libraries(llmc_${name} PUBLIC llmc_${link})
  endforeach()
  target_link_libraries(llmc_${name} PRIVATE ${arg_PRIVATE})
endfunction()

# llmc_test(NAME SOURCES file... [LINKS folder...] [PRIVATE library...] [TIMEOUT seconds] [PROCESSORS n] [LABELS label])
# One GoogleTest program test_NAME; each of its tests becomes a CTest test. PROCESSORS: cores that one test keeps busy.
function(llmc_test name)
  cmake_parse_arguments(arg "" "TIMEOUT;PROCESSORS;LABELS" "SOURCES;LINKS;PRIVATE" ${ARGN})
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
  if(LLMC_SANITIZE) # emulated GPUs take minutes there
    math(EXPR arg_TIMEOUT "4 * ${arg_TIMEOUT}")
  endif()
  if(NOT arg_PROCESSORS)
    set(arg_PROCESSORS 1)
  endif()
  set(labels)
  if(arg_LABELS)
    set(labels LABELS ${arg_LABELS})
  endif()
  gtest_discover_tests(test_${name} TEST_PREFIX "${name}." DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT ${arg_TIMEOUT} PROCESSORS ${arg_PROCESSORS} ${labels})
endfunction()

# llmc_mpi_test(NAME PROGRAM RANKS [argument...] [EXIT code])
# Runs PROGRAM under a real mpirun, which must end with that code (0). The variables let root
# and more ranks than cores through and keep waiting ranks from spinning; they work for Open
# MPI 4 wherever mpirun is called.
function(llmc_mpi_test name program ranks)
  cmake_parse_arguments(arg "" "EXIT" "" ${ARGN})
  if(NOT arg_EXIT)
    set(arg_EXIT 0)
  endif()
  add_test(NAME mpi.${name}.np${ranks}
    COMMAND sh -c "\"$@\"; code=$?; echo \"exit code $code\"; test $code -eq ${arg_EXIT}" sh
            ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} ${ranks} ${MPIEXEC_PREFLAGS}
            $<TARGET_FILE:${program}> ${MPIEXEC_POSTFLAGS} ${arg_UNPARSED_ARGUMENTS})
  set_tests_properties(mpi.${name}.np${ranks} PROPERTIES PROCESSORS 2 TIMEOUT 240 LABELS mpi
    ENVIRONMENT "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMPI_MCA_rmaps_base_oversubscribe=1;OMPI_MCA_mpi_yield_when_idle=1;OMPI_MCA_btl_vader_single_copy_mechanism=none;ASAN_OPTIONS=detect_leaks=0")
endfunction()
