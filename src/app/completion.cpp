#include "app/completion.h"

// CLI11 can read files too, but knows no lines, takes much that is not TOML, and lets a file go before the
// environment.
#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_FORMATTERS 0
#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <numeric>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

#include "base/files.h"

namespace diffused::app {
namespace {

constexpr std::size_t kFileBytesMax = 1 << 20;
constexpr std::string_view kNotInFiles[] = {"help", "version", "config", "check-config", "print-config"};

using Values = std::vector<std::string>;

// What an option is called in a file: max-steps, or model for the models. Empty: a file cannot give it.
std::string key_of(const CLI::Option& option) {
  if (option.get_lnames().empty()) {
    std::string name = option.get_name(/*positional=*/true);
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    return name;
  }
  const std::string& name = option.get_lnames().front();
  return std::ranges::count(kNotInFiles, name) > 0 ? "" : name;
}

std::string variable_of(const std::string& key) {
  std::string name = "DIFFUSED_";
  for (const unsigned char c : key) name += c == '-' ? '_' : static_cast<char>(std::toupper(c));
  return name;
}

bool takes_many(const CLI::Option& option) { return option.get_items_expected_max() > 1; }
bool is_flag(const CLI::Option& option) { return option.get_items_expected_max() == 0; }

// Levenshtein's distance.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

std::string nearest(const CLI::App& command, const std::string& key) {
  std::string found;
  for (const CLI::Option* option : command.get_options()) {
    const std::string name = key_of(*option);
    if (!name.empty() && (found.empty() || distance(key, name) < distance(key, found))) found = name;
  }
  return found;
}

CLI::Option* find_option(CLI::App& command, const std::string& key) {
  for (CLI::Option* option : command.get_options())
    if (key_of(*option) == key) return option;
  return nullptr;
}

// Checks and stores as the command line does. `where` begins the error's message.
Result<void> give(CLI::Option& option, const Values& values, const std::string& where) {
  const auto refuse = [&](std::string_view why) {
    return fail(ErrorCode::invalid_argument, fmt::format("{}: {} {}", where, key_of(option), why));
  };
  if (is_flag(option) && values != Values{"true"} && values != Values{"false"})
    return refuse("is true or false");
  if (values.size() != 1 && !takes_many(option)) return refuse("takes one value, not a list");
  if (values.empty() || values == Values{""} || (is_flag(option) && values == Values{"false"})) return {};
  try {
    for (const std::string& value : values) option.add_result(value);
    option.run_callback();
  } catch (const CLI::Error& error) {
    return fail(ErrorCode::invalid_argument, fmt::format("{}: {}", where, error.what()));
  }
  return {};
}

std::optional<std::string> text_of(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return fmt::format("{}", number->get());
  if (const auto* number = node.as_floating_point()) return fmt::format("{}", number->get());
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  return std::nullopt;
}

// Nothing for what no option can be: a date, a table, a list of lists.
std::optional<Values> values_of(const toml::node& node) {
  Values values;
  if (const auto* list = node.as_array()) {
    for (const toml::node& item : *list) {
      auto text = text_of(item);
      if (!text) return std::nullopt;
      values.push_back(*std::move(text));
    }
    return values;
  }
  auto text = text_of(node);
  if (!text) return std::nullopt;
  return Values{*std::move(text)};
}

// CLI11 shows a list's default as words in one text.
std::string list_of(const std::string& shown) {
  std::istringstream words(shown);
  std::string list;
  for (std::string word; words >> word;) list += fmt::format("{}\"{}\"", list.empty() ? "" : ", ", word);
  return fmt::format("[{}]", list);
}

// How the option's default stands in a file; dots where a number has none.
std::string default_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const std::string value = option.get_default_str();
  if (is_flag(option)) return "false";
  if (takes_many(option)) return list_of(value);
  const bool is_number = type.starts_with("INT") || type.starts_with("UINT") || type.starts_with("FLOAT");
  if (is_number && value.empty()) return "...";
  return is_number && value.find_first_not_of("0123456789.-") == std::string::npos
             ? value
             : fmt::format("\"{}\"", value);
}

// Lines of comment, each of at most 100 characters if no word is longer.
std::string comment(std::string_view text) {
  constexpr std::size_t kWidth = 98;
  std::string lines;
  while (!text.empty()) {
    std::size_t end = text.size();
    if (end > kWidth) {
      end = text.rfind(' ', kWidth);
      if (end == std::string_view::npos) end = text.find(' ');
    }
    lines += fmt::format("# {}\n", text.substr(0, end));
    text = end < text.size() ? text.substr(end + 1) : "";
  }
  return lines;
}

void print_file(const CLI::App& command) {
  fmt::print(
      "# Options of `{}`, as --config reads them; those with a # before them have their default.\n"
      "# The command line goes before the environment (DIFFUSED_N_MAX for n-max), and that before this "
      "file.\n",
      command.get_parent() ? command.get_parent()->get_name() + " " + command.get_name()
                           : command.get_name());
  for (const CLI::Option* option : command.get_options()) {
    const std::string key = key_of(*option);
    if (key.empty()) continue;
    fmt::print("\n{}#{} = {}\n", comment(option->get_description()), key, default_of(*option));
  }
}

Result<void> complete_from_environment(CLI::App& command) {
  for (CLI::Option* option : command.get_options()) {
    const std::string key = key_of(*option);
    if (key.empty() || option->count() > 0) continue;
    const std::string variable = variable_of(key);
    const char* const value = std::getenv(variable.c_str());
    if (value == nullptr || *value == '\0') continue;
    TRY_VOID(give(*option, takes_many(*option) ? CLI::detail::split(value, ',') : Values{value}, variable));
  }
  return {};
}

Result<void> complete_from_file(CLI::App& command, const std::string& file) {
  TRY(const std::string text, read_whole_file(file, kFileBytesMax));
  const toml::parse_result parsed = toml::parse(text);
  if (!parsed)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}:{}: {}", file, parsed.error().source().begin.line,
                            std::string(parsed.error().description())));
  // In the order of the file, so that the first fault is the one that is told.
  std::vector<std::pair<std::string, const toml::node*>> entries;
  for (const auto& [key, node] : parsed.table()) entries.emplace_back(key.str(), &node);
  std::ranges::sort(entries, {}, [](const auto& entry) { return entry.second->source().begin.line; });
  for (const auto& [key, node] : entries) {
    const std::string where = fmt::format("{}:{}", file, node->source().begin.line);
    CLI::Option* const option = find_option(command, key);
    if (option == nullptr)
      return fail(ErrorCode::invalid_argument, fmt::format("{}: there is no option {}; the nearest is {}",
                                                           where, key, nearest(command, key)));
    const auto values = values_of(*node);
    if (!values)
      return fail(
          ErrorCode::invalid_argument,
          fmt::format("{}: {} must be a text, a number, true, false, or a list of these", where, key));
    if (option->count() == 0) TRY_VOID(give(*option, *values, where));
  }
  return {};
}

}  // namespace

void add_completion_options(CLI::App& command, CompletionOptions& options) {
  command.add_option(
      "--config", options.file,
      "a file with options (TOML: n-max = 4). The command line goes before it, and so does the "
      "environment, where every option has a name like DIFFUSED_N_MAX");
  command.add_flag("--check-config", options.check_only,
                   "say whether the options, and the files they name, can be used, and end");
  command.add_flag("--print-config", options.print_only,
                   "print a file for --config with every option, and end");
}

Result<bool> complete(CLI::App& command, const CompletionOptions& options) {
  if (options.print_only) {
    print_file(command);
    return false;
  }
  TRY_VOID(complete_from_environment(command));
  if (!options.file.empty()) TRY_VOID(complete_from_file(command, options.file));
  return true;
}

Result<void> parse_again(CLI::App& command, const CompletionOptions& options, char** arguments) {
  int count = 0;
  while (arguments[count] != nullptr) ++count;
  try {
    command.parse(count, arguments);
  } catch (const CLI::Error& error) {
    return fail(ErrorCode::invalid_argument, error.what());
  }
  TRY_VOID(complete(command, options));
  return {};
}

Result<void> say_all_is_well() {
  fmt::print("the options can be used\n");
  return {};
}

}  // namespace diffused::app
