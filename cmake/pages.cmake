# The pages' files become a table in the program: embed_pages(TARGET) adds it to the target's sources.
#
# The files are those of src/api/pages/ and, below lit/, the modules of the library lit-html, which ./dev setup
# installs from npm at the version and hash of src/api/pages/package-lock.json.
# As a script (cmake -P) this file writes the table: OUTPUT, and FILES as name=path pairs.

if(CMAKE_SCRIPT_MODE_FILE)
  set(table "")
  foreach(pair IN LISTS FILES)
    string(REGEX MATCH "^([^=]+)=(.*)$" pair "${pair}")
    set(name "${CMAKE_MATCH_1}")
    set(path "${CMAKE_MATCH_2}")
    file(SHA256 "${path}" hash)
    file(READ "${path}" text)
    string(SUBSTRING "${hash}" 0 16 hash)
    string(APPEND table "    {\"${name}\", \"${hash}\", R\"page(${text})page\"},\n")
  endforeach()
  file(WRITE "${OUTPUT}" "// Made by cmake/pages.cmake.\n#include \"api/pages/page_files.h\"\n\n"
    "namespace diffused::api {\n\nstd::span<const PageFile> embedded_page_files() {\n"
    "  static constexpr PageFile kFiles[] = {\n${table}  };\n  return kFiles;\n}\n\n}  // namespace diffused::api\n")
  return()
endif()

set(PAGES_MODULES "${PROJECT_SOURCE_DIR}/.pages/node_modules" CACHE PATH "The folder node_modules that holds lit-html")
set(pages_lit_modules lit-html.js directive.js directive-helpers.js async-directive.js
  directives/keyed.js directives/live.js directives/ref.js directives/repeat.js)

function(embed_pages target)
  if(NOT EXISTS "${PAGES_MODULES}/lit-html/lit-html.js")
    message(FATAL_ERROR "PAGES_MODULES='${PAGES_MODULES}' holds no lit-html; run ./dev setup")
  endif()
  set(folder "${PROJECT_SOURCE_DIR}/src/api/pages")
  file(GLOB names CONFIGURE_DEPENDS RELATIVE "${folder}" "${folder}/*.html" "${folder}/*.js" "${folder}/*.css"
    "${folder}/*.svg")
  set(pairs "")
  set(paths "")
  foreach(name IN LISTS names)
    list(APPEND pairs "${name}=${folder}/${name}")
    list(APPEND paths "${folder}/${name}")
  endforeach()
  foreach(name IN LISTS pages_lit_modules)
    list(APPEND pairs "lit/${name}=${PAGES_MODULES}/lit-html/${name}")
    list(APPEND paths "${PAGES_MODULES}/lit-html/${name}")
  endforeach()
  list(APPEND pairs "signals.js=${PAGES_MODULES}/@preact/signals-core/dist/signals-core.module.js")
  list(APPEND paths "${PAGES_MODULES}/@preact/signals-core/dist/signals-core.module.js")
  set(output "${PROJECT_BINARY_DIR}/embedded_page_files.cpp")
  set(script "${PROJECT_SOURCE_DIR}/cmake/pages.cmake")
  add_custom_command(OUTPUT "${output}" DEPENDS ${paths} "${script}" VERBATIM
    COMMAND ${CMAKE_COMMAND} -D "OUTPUT=${output}" -D "FILES=${pairs}" -P "${script}")
  target_sources(${target} PRIVATE "${output}")
  set_source_files_properties("${output}" PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()
