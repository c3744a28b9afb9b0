#include "app/request_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "parameters/request_fields.h"

namespace diffused::app {
namespace {

std::string option_of(std::string_view name) {
  std::string option = fmt::format("--{}", name);
  std::ranges::replace(option, '_', '-');
  return option;
}

// Ranges are the model's to check, whose errors name the field.
CLI::Option* add(CLI::App& command, const FieldInfo& field, auto& member) {
  const std::string names = field.option.empty() || field.option == field.name
                                ? option_of(field.name)
                                : option_of(field.option) + "," + option_of(field.name);
  return command.add_option(names, member, std::string(field.about));
}

void add_option(CLI::App& command, const FieldInfo& field, auto& member) { add(command, field, member); }

// The commands that make pictures load the model too, whose own --cache says it.
void add_option(CLI::App&, const FieldInfo&, std::optional<StepCache>&) {}

void add_option(CLI::App& command, const FieldInfo& field, std::optional<std::string>& member) {
  CLI::Option* const option = add(command, field, member);
  std::vector<std::string> words;
  for (const std::string_view word : field.words)
    if (!word.empty()) words.emplace_back(word);
  if (!words.empty()) option->check(CLI::IsMember(words));
}

// Numbers with commas between them.
template <typename T>
void add_option(CLI::App& command, const FieldInfo& field, std::vector<T>& member) {
  add(command, field, member)->delimiter(',');
}

// Height and width, or top and left, as two numbers.
void add_option(CLI::App& command, const FieldInfo& field, std::optional<std::array<int, 2>>& member) {
  const auto take = [&member](const std::vector<int>& sides) { member = {sides.at(0), sides.at(1)}; };
  command.add_option_function<std::vector<int>>(option_of(field.name), take, std::string(field.about))
      ->expected(2);
}

void add_option(CLI::App& command, const FieldInfo& field, std::vector<LoraChoice>& member) {
  const auto take = [&member](const std::vector<std::string>& texts) {
    for (const std::string& text : texts) {
      auto lora = parse_lora(text);
      if (!lora) throw CLI::ValidationError("--lora", lora.error().message);
      member.push_back(*std::move(lora));
    }
  };
  command
      .add_option_function<std::vector<std::string>>(
          option_of(field.option), take,
          "NAME[:WEIGHT[:TEXT_WEIGHT]]: a LoRA of --loras to use; may be given several times")
      ->allow_extra_args(false);
}

// Takes ":0.5" off the end.
std::optional<double> take_number(std::string& text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [read, error] = std::from_chars(text.data() + colon + 1, end, number);
  if (error != std::errc() || read != end) return std::nullopt;
  text.resize(colon);
  return number;
}

}  // namespace

void add_request_options(CLI::App& command, GenerateRequest& request) {
  each_field(request, [&](const FieldInfo& field, auto& member) {
    if (field.name != "prompt") add_option(command, field, member);
  });
}

void add_picture_options(CLI::App& command, PictureFiles& files) {
  const GenerateRequest request;
  each_picture(request, [&](const PictureInfo& input, const auto& member) {
    const bool several = !std::is_same_v<decltype(member), const PicturePointer&>;
    command
        .add_option(option_of(input.option), files[std::string(input.name)],
                    fmt::format("A file (png, jpg, webp). {}{}", input.about,
                                several ? " May be given several times." : ""))
        ->expected(several ? CLI::detail::expected_max_vector_size : 1);
  });
}

Result<LoraChoice> parse_lora(const std::string& text) {
  LoraChoice lora{.name = text};
  if (const auto last = take_number(lora.name)) {
    lora.weight = *last;
    if (const auto first = take_number(lora.name)) {
      lora.weight = *first;
      lora.text_weight = last;
    }
  }
  if (lora.name.empty())
    return fail(ErrorCode::invalid_argument, fmt::format("'{}' names no LoRA", text), "loras");
  return lora;
}

}  // namespace diffused::app
