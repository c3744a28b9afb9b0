// The files of the pages: HTML, JavaScript modules and styles. They lie in this folder and are compiled into
// the program by cmake/pages.cmake, with the modules of the library that they use.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace diffused::api {

struct PageFile {
  std::string_view name;  // "make.js", "lit/lit-html.js"
  std::string_view hash;  // of the text; changes with it
  std::string_view text;
};

// All files, by name. Generated.
std::span<const PageFile> embedded_page_files();

// The embedded file of that name, or null.
const PageFile* find_page_file(std::string_view name);

// The media type of a file by its extension; empty for an extension that no page file has.
std::string_view page_media_type(std::string_view name);

// The file below `folder`, or nothing when there is none or the name would leave the folder. Reads the disk.
std::optional<std::string> read_page_file(const std::filesystem::path& folder, std::string_view name);

}  // namespace diffused::api
