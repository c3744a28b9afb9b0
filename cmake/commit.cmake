# Writes OUTPUT, the file that says which source this is: cmake -DOUTPUT=… -DVERSION=… -P cmake/commit.cmake
# Run at each build; the file changes when the commit does. A source archive (git archive) names its commit in commit.txt.
get_filename_component(source ${CMAKE_CURRENT_LIST_DIR}/.. ABSOLUTE)
set(commit "unknown: built from a folder without its history")
file(STRINGS ${CMAKE_CURRENT_LIST_DIR}/commit.txt archived LIMIT_COUNT 1)
if(NOT archived MATCHES "Format")
  set(commit "${archived}")
elseif(EXISTS ${source}/.git)
  execute_process(COMMAND git rev-parse HEAD WORKING_DIRECTORY ${source}
    OUTPUT_VARIABLE head OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed ERROR_QUIET)
  execute_process(COMMAND git diff --quiet HEAD -- WORKING_DIRECTORY ${source} RESULT_VARIABLE differs ERROR_QUIET)
  if(NOT failed)
    set(commit "${head}")
    if(differs)
      string(APPEND commit ", modified")
    endif()
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "#include \"app/version.h\"

namespace diffused::app {

const char* const kVersion = \"${VERSION}\";
const char* const kCommit = \"${commit}\";

}  // namespace diffused::app
")
