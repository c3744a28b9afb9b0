# room(NAME [TORCH] [ONE_PROCESS] [DEPS rooms…] [LIBS libraries…])
#
# src/NAME/**.cpp becomes the static library NAME and tests/NAME/**_test.cpp the program NAME_test.
# DEPS is the only list of what the room may include; `./dev lint` holds the #include lines against it.
# TORCH marks the rooms that may include torch; they are left out when DIFFUSED_WITH_TORCH is OFF.
# ONE_PROCESS runs all tests of the room in one process, because they share what is slow to start.
# The target `tests` is all test programs and nothing else.
add_custom_target(tests)
if(DIFFUSED_BUILD_TESTS)
  # The only file in which a path of this clone stands, so that all others are compiled once for all clones (ccache).
  add_library(source_folder STATIC ${PROJECT_SOURCE_DIR}/tests/support/source_folder.cpp)
  target_include_directories(source_folder PUBLIC ${PROJECT_SOURCE_DIR}/tests)
  target_compile_definitions(source_folder PRIVATE DIFFUSED_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
endif()

function(room name)
  cmake_parse_arguments(R "TORCH;ONE_PROCESS" "" "DEPS;LIBS" ${ARGN})
  if(R_TORCH AND NOT DIFFUSED_WITH_TORCH)
    return()
  endif()
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cpp)
  if(sources)
    as_one(sources ${name} ${sources})
  else()
    set(sources ${PROJECT_SOURCE_DIR}/cmake/empty.cpp)
  endif()
  add_library(${name} STATIC ${sources})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(${name} PUBLIC ${R_DEPS} ${R_LIBS})
  if(R_TORCH)
    use_torch(${name})
  endif()

  file(GLOB_RECURSE tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${name}/*_test.cpp)
  if(tests AND DIFFUSED_BUILD_TESTS)
    as_one(tests ${name}_test ${tests})
    add_executable(${name}_test ${tests})
    add_dependencies(tests ${name}_test)
    target_link_libraries(${name}_test PRIVATE ${name} source_folder GTest::gtest_main GTest::gmock)
    if(R_TORCH)
      use_torch(${name}_test)
      # One process for all of a room's tests, as libtorch takes a second to start; and few threads that do not wait
      # busily, as many test programs run at once. Of what passes they say nothing, so that a report shows what failed.
      add_test(NAME ${name} COMMAND ${name}_test)
      set_tests_properties(${name} PROPERTIES TIMEOUT 600 ENVIRONMENT
        "OMP_NUM_THREADS=2;OMP_WAIT_POLICY=passive;GTEST_BRIEF=1")
    elseif(R_ONE_PROCESS)
      add_test(NAME ${name} COMMAND ${name}_test)
      set_tests_properties(${name} PROPERTIES TIMEOUT 600 ENVIRONMENT GTEST_BRIEF=1)
    else()
      gtest_discover_tests(${name}_test TEST_PREFIX ${name}. DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 300)
    endif()
  endif()
endfunction()
