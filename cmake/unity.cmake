# as_one(VARIABLE NAME files…): with DIFFUSED_UNITY, sets VARIABLE to one file, unity/NAME.cpp, which includes all of them;
# else to the files. They lie under src/ or tests/, which the target has among its include folders.
# Ours rather than CMake's UNITY_BUILD, which includes by absolute paths: so what one clone compiled serves no other.
function(as_one variable name)
  set(includes "")
  foreach(file ${ARGN})
    cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY ${PROJECT_SOURCE_DIR})
    cmake_path(RELATIVE_PATH file BASE_DIRECTORY ${PROJECT_SOURCE_DIR})
    string(REGEX REPLACE "^(src|tests)/" "" file ${file})
    string(APPEND includes "#include \"${file}\"\n")
  endforeach()
  if(DIFFUSED_UNITY)
    set(unity ${PROJECT_BINARY_DIR}/unity/${name}.cpp)
    file(CONFIGURE OUTPUT ${unity} CONTENT "${includes}")
    set(${variable} ${unity} PARENT_SCOPE)
  else()
    set(${variable} ${ARGN} PARENT_SCOPE)
  endif()
endfunction()
