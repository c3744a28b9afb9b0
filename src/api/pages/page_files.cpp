#include "api/pages/page_files.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <utility>

namespace diffused::api {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kPageMediaTypes{
    {{".html", "text/html; charset=utf-8"},
     {".js", "text/javascript; charset=utf-8"},
     {".css", "text/css; charset=utf-8"},
     {".svg", "image/svg+xml"}}};

// Letters, digits, '-', '_', '.' and '/', no part of the path beginning with a dot.
bool stays_inside(std::string_view name) {
  char before = '/';
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    if (!plain && !((c == '.' || c == '/') && before != '/')) return false;
    before = c;
  }
  return !name.empty();
}

}  // namespace

const PageFile* find_page_file(std::string_view name) {
  const auto files = embedded_page_files();
  const auto found = std::ranges::find(files, name, &PageFile::name);
  return found == files.end() ? nullptr : &*found;
}

std::string_view page_media_type(std::string_view name) {
  for (const auto& [extension, type] : kPageMediaTypes)
    if (name.ends_with(extension)) return type;
  return {};
}

std::optional<std::string> read_page_file(const std::filesystem::path& folder, std::string_view name) {
  if (!stays_inside(name)) return std::nullopt;
  std::error_code none;
  const std::filesystem::path path = folder / name;
  if (!std::filesystem::is_regular_file(path, none)) return std::nullopt;
  std::ifstream stream(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  return stream.bad() ? std::nullopt : std::optional(std::move(text));
}

}  // namespace diffused::api
