# libtorch comes from a Python package folder (TORCH_DIR: the folder `torch` of a site-packages), any version >= 2.6.
# `./dev` passes the project's own virtual environment; a machine's own torch can be named instead.
set(TORCH_DIR "" CACHE PATH "The folder of the Python package torch whose libtorch is used")
if(NOT EXISTS "${TORCH_DIR}/lib/libtorch.so")
  message(FATAL_ERROR "TORCH_DIR='${TORCH_DIR}' holds no libtorch (lib/libtorch.so); run ./dev setup")
endif()
# Not find_package(Torch): in a wheel for CUDA, which PyPI's is, that asks for CUDA's compiler, and nothing here needs one.
# libtorch.so leads to the libraries of CUDA, so it is kept though none of its names is called.
add_library(libtorch INTERFACE)
target_include_directories(libtorch SYSTEM INTERFACE "${TORCH_DIR}/include")
target_link_libraries(libtorch INTERFACE "-Wl,--no-as-needed,${TORCH_DIR}/lib/libtorch.so,--as-needed"
                      "${TORCH_DIR}/lib/libtorch_cpu.so" "${TORCH_DIR}/lib/libc10.so")
# One OpenMP run-time in the process: the one inside the wheel, found first through the run path.
set(CMAKE_BUILD_RPATH "${TORCH_DIR}/lib")
# Our own parallel loops call it too; a torch without one of its own uses the system's.
file(GLOB TORCH_OPENMP "${TORCH_DIR}/lib/libgomp*.so*")
if(NOT TORCH_OPENMP)
  set(TORCH_OPENMP gomp)
endif()

# Clang brings an OpenMP of its own, which must not meet that one; its fuzzers compute nothing.
if(NOT DIFFUSED_FUZZ)
  set(OPENMP_OPTION -fopenmp)
endif()

# Programs are compiled like libraries (-fPIC), so that they too may use the compiled headers below.
set(CMAKE_CXX_COMPILE_OPTIONS_PIE ${CMAKE_CXX_COMPILE_OPTIONS_PIC})

# ATen's headers cost about ten seconds a file; compiled once, shared by every TORCH room.
add_library(torch_headers OBJECT ${PROJECT_SOURCE_DIR}/cmake/empty.cpp)
target_link_libraries(torch_headers PRIVATE libtorch)
target_compile_options(torch_headers PRIVATE ${OPENMP_OPTION})
target_compile_definitions(torch_headers PRIVATE FMT_HEADER_ONLY)
target_precompile_headers(torch_headers PRIVATE <ATen/ATen.h> <optional> <span> <string> <vector>)

# The wheel brings the headers of its own fmt, found before Debian's, and no library to go with them: FMT_HEADER_ONLY.
# at::parallel_for is a header template: without -fopenmp in our own files it silently runs on one core.
function(use_torch target)
  target_link_libraries(${target} PUBLIC libtorch ${TORCH_OPENMP})
  target_compile_options(${target} PRIVATE ${OPENMP_OPTION})
  target_compile_definitions(${target} PRIVATE FMT_HEADER_ONLY)
  target_precompile_headers(${target} REUSE_FROM torch_headers)
endfunction()
