#include "api/sdapi/styles.h"

#include <fmt/format.h>

#include <algorithm>

namespace diffused::api {
namespace {

constexpr std::string_view kPlace = "{prompt}";
constexpr std::string_view kMark = "\xEF\xBB\xBF";

struct CsvRow {
  std::vector<std::string> cells;
  int line = 0;  // on which it begins
};

// Takes a cell and what ends it: ',' or '\n', or nothing at the end. `line` counts on.
Result<char> take_cell(std::string_view& rest, std::string& cell, int& line) {
  const int first = line;
  bool quoted = rest.starts_with('"');
  if (quoted) rest.remove_prefix(1);
  while (!rest.empty()) {
    const char c = rest.front();
    rest.remove_prefix(1);
    if (c == '\n') ++line;
    if (quoted) {
      if (c != '"') {
        cell += c;
      } else if (rest.starts_with('"')) {
        cell += '"';
        rest.remove_prefix(1);
      } else {
        quoted = false;
      }
    } else if (c == ',' || c == '\n') {
      return c;
    } else if (c != '\r') {
      cell += c;
    }
  }
  if (quoted) return fail(ErrorCode::invalid_argument, fmt::format("line {}: a quote is not closed", first));
  return '\0';
}

Result<std::vector<CsvRow>> parse_csv(std::string_view text) {
  if (text.starts_with(kMark)) text.remove_prefix(kMark.size());
  std::vector<CsvRow> rows;
  for (int line = 1; !text.empty();) {
    CsvRow row{{}, line};
    char end = ',';
    while (end == ',') {
      TRY(end, take_cell(text, row.cells.emplace_back(), line));
    }
    if (row.cells.size() > 1 || !row.cells.front().empty()) rows.push_back(std::move(row));
  }
  return rows;
}

std::string_view without_blanks(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  return text.substr(0, text.find_last_not_of(" \t\r\n") + 1);
}

}  // namespace

Result<std::vector<SdStyle>> parse_styles(std::string_view csv) {
  TRY(const std::vector<CsvRow> rows, parse_csv(csv));
  if (rows.empty()) return fail(ErrorCode::invalid_argument, "it is empty");
  const std::vector<std::string>& head = rows.front().cells;
  const auto column = [&](std::string_view name) {
    return static_cast<std::size_t>(std::ranges::find(head, name) - head.begin());
  };
  // Early versions had one text only.
  const std::size_t name = column("name"), negative = column("negative_prompt");
  const std::size_t prompt = std::min(column("prompt"), column("text"));
  if (name == head.size() || prompt == head.size())
    return fail(ErrorCode::invalid_argument, "line 1: it names no columns name and prompt");
  std::vector<SdStyle> styles;
  for (const CsvRow& row : std::vector(rows.begin() + 1, rows.end())) {
    const auto cell = [&](std::size_t at) { return at < row.cells.size() ? row.cells[at] : std::string(); };
    if (cell(name).empty())
      return fail(ErrorCode::invalid_argument, fmt::format("line {}: a style has no name", row.line));
    styles.push_back({cell(name), cell(prompt), cell(negative)});
  }
  return styles;
}

std::string styled(std::string_view style, std::string_view prompt) {
  std::string text(style);
  std::size_t at = text.find(kPlace);
  if (at == std::string::npos) {
    const std::string_view before = without_blanks(prompt), after = without_blanks(style);
    return fmt::format("{}{}{}", before, before.empty() || after.empty() ? "" : ", ", after);
  }
  for (; at != std::string::npos; at = text.find(kPlace, at + prompt.size()))
    text.replace(at, kPlace.size(), prompt);
  return text;
}

}  // namespace diffused::api
