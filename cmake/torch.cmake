# libtorch comes from a Python package folder (TORCH_DIR: the folder `torch` of a site-packages), any version >= 2.6.
# `./dev` passes the project's own virtual environment; a machine's own torch can be named instead.
set(TORCH_DIR "" CACHE PATH "The folder of the Python package torch whose libtorch is used")
if(NOT EXISTS "${TORCH_DIR}/share/cmake/Torch/TorchConfig.cmake")
  message(FATAL_ERROR "TORCH_DIR='${TORCH_DIR}' holds no libtorch (share/cmake/Torch/TorchConfig.cmake); run ./dev setup")
endif()
list(APPEND CMAKE_PREFIX_PATH "${TORCH_DIR}/share/cmake")
find_package(Torch REQUIRED)
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
target_link_libraries(torch_headers PRIVATE ${TORCH_LIBRARIES})
target_compile_options(torch_headers PRIVATE ${OPENMP_OPTION})
target_compile_definitions(torch_headers PRIVATE FMT_HEADER_ONLY)
target_precompile_headers(torch_headers PRIVATE <ATen/ATen.h> <optional> <span> <string> <vector>)

# The wheel brings the headers of its own fmt, found before Debian's, and no library to go with them: FMT_HEADER_ONLY.
# at::parallel_for is a header template: without -fopenmp in our own files it silently runs on one core.
function(use_torch target)
  target_link_libraries(${target} PUBLIC ${TORCH_LIBRARIES} ${TORCH_OPENMP})
  target_compile_options(${target} PRIVATE ${OPENMP_OPTION})
  target_compile_definitions(${target} PRIVATE FMT_HEADER_ONLY)
  target_precompile_headers(${target} REUSE_FROM torch_headers)
endfunction()
