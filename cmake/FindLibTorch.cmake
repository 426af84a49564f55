# libtorch as headers and shared libraries, without its own CMake files (they ask for the CUDA toolkit).
#
# LLMC_TORCH_DIR (cache variable or environment) is a folder that holds include/ and lib/: an unpacked
# libtorch, or the Python package torch (.../site-packages/torch). Sets LibTorch_FOUND, LibTorch_VERSION and
# the target LibTorch::cpu; where LLMC_CUDA_ROOT names a CUDA toolkit and this libtorch was built with CUDA, LibTorch::cuda too,
# or else LibTorch_CUDA_WHY.
set(_llmc_torch "${LLMC_TORCH_DIR}")
if(NOT _llmc_torch)
  set(_llmc_torch "$ENV{LLMC_TORCH_DIR}")
endif()

set(LibTorch_FOUND FALSE)
set(_llmc_torch_why "LLMC_TORCH_DIR is not set")
if(_llmc_torch)
  find_path(LibTorch_INCLUDE ATen/core/Tensor.h PATHS ${_llmc_torch}/include NO_DEFAULT_PATH NO_CACHE)
  find_library(LibTorch_CPU torch_cpu PATHS ${_llmc_torch}/lib NO_DEFAULT_PATH NO_CACHE)
  find_library(LibTorch_C10 c10 PATHS ${_llmc_torch}/lib NO_DEFAULT_PATH NO_CACHE)
  if(LibTorch_INCLUDE AND LibTorch_CPU AND LibTorch_C10)
    set(LibTorch_FOUND TRUE)
  else()
    set(_llmc_torch_why "${_llmc_torch} lacks include/ATen/core/Tensor.h, lib/libtorch_cpu.so or lib/libc10.so")
  endif()
endif()

if(LibTorch_FOUND AND NOT TARGET LibTorch::cpu)
  file(STRINGS ${LibTorch_INCLUDE}/torch/headeronly/version.h _llmc_torch_lines REGEX "^#define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
  string(REGEX REPLACE "[^0-9;]" "" LibTorch_VERSION "${_llmc_torch_lines}")
  string(REPLACE ";" "." LibTorch_VERSION "${LibTorch_VERSION}")
  # The wheel says in its symbols which std::string it was built with.
  file(STRINGS ${LibTorch_C10} _llmc_torch_cxx11 REGEX "__cxx11" LIMIT_COUNT 1)
  if(_llmc_torch_cxx11)
    set(_llmc_torch_abi 1)
  else()
    set(_llmc_torch_abi 0)
  endif()
  get_filename_component(_llmc_torch_lib ${LibTorch_CPU} DIRECTORY)
  # The wheels for CUDA keep NVIDIA's libraries in packages beside torch.
  file(GLOB _llmc_torch_nvidia ${_llmc_torch}/../nvidia/*/lib)

  add_library(LibTorch::cpu INTERFACE IMPORTED)
  target_include_directories(LibTorch::cpu SYSTEM INTERFACE ${LibTorch_INCLUDE})
  target_compile_definitions(LibTorch::cpu INTERFACE _GLIBCXX_USE_CXX11_ABI=${_llmc_torch_abi})
  target_link_libraries(LibTorch::cpu INTERFACE ${LibTorch_CPU} ${LibTorch_C10})
  foreach(_llmc_torch_folder ${_llmc_torch_lib} ${_llmc_torch_nvidia})
    target_link_options(LibTorch::cpu INTERFACE "LINKER:-rpath,${_llmc_torch_folder}" "LINKER:-rpath-link,${_llmc_torch_folder}")
  endforeach()
endif()

if(LibTorch_FOUND AND LLMC_CUDA_ROOT AND NOT TARGET LibTorch::cuda)
  get_filename_component(_llmc_torch_lib ${LibTorch_CPU} DIRECTORY)
  find_library(LibTorch_C10_CUDA c10_cuda PATHS ${_llmc_torch_lib} NO_DEFAULT_PATH NO_CACHE)
  find_library(LibTorch_CUDA torch_cuda PATHS ${_llmc_torch_lib} NO_DEFAULT_PATH NO_CACHE)
  find_path(LibTorch_CUDA_INCLUDE cuda_runtime_api.h PATHS ${LLMC_CUDA_ROOT}/include
    ${LLMC_CUDA_ROOT}/targets/x86_64-linux/include NO_DEFAULT_PATH NO_CACHE)
  # The runtime that libtorch itself uses, not another of the toolkit.
  file(GLOB _llmc_cudart ${_llmc_torch_lib}/../../nvidia/*/lib/libcudart.so.* ${_llmc_torch_lib}/libcudart*.so*
    ${LLMC_CUDA_ROOT}/lib64/libcudart.so)
  if(NOT LibTorch_C10_CUDA OR NOT LibTorch_CUDA)
    set(LibTorch_CUDA_WHY "${_llmc_torch_lib} has no libtorch_cuda.so")
  elseif(NOT LibTorch_CUDA_INCLUDE OR NOT _llmc_cudart)
    set(LibTorch_CUDA_WHY "cuda_runtime_api.h or libcudart.so is missing")
  else()
    list(GET _llmc_cudart 0 _llmc_cudart)
    add_library(LibTorch::cuda INTERFACE IMPORTED)
    target_link_libraries(LibTorch::cuda INTERFACE LibTorch::cpu ${LibTorch_C10_CUDA} ${_llmc_cudart})
    # libtorch_cuda.so registers its operations when it is loaded; no symbol of it is named.
    target_link_options(LibTorch::cuda INTERFACE LINKER:--no-as-needed ${LibTorch_CUDA} LINKER:--as-needed)
    target_include_directories(LibTorch::cuda SYSTEM INTERFACE ${LibTorch_CUDA_INCLUDE})
  endif()
endif()

if(NOT LibTorch_FOUND AND LibTorch_FIND_REQUIRED)
  message(FATAL_ERROR "libtorch was not found: ${_llmc_torch_why}. Set LLMC_TORCH_DIR to the folder of an unpacked "
    "libtorch or of the Python package torch, or configure with -DLLMC_TORCH=OFF (native engine only, the same bits).")
endif()
