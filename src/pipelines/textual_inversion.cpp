#include "pipelines/textual_inversion.h"

#include <ATen/Functions.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "base/log.h"
#include "pipelines/found_files.h"
#include "tokenizers/unicode.h"
#include "weights/checkpoint.h"
#include "weights/load_error.h"

namespace diffused::pipelines {
namespace {

using Widths = std::map<std::string, std::int64_t>;

constexpr const char* kFirst = "text_encoder";
constexpr const char* kSecond = "text_encoder_2";
constexpr std::string_view kNameless = "emb_params";  // A1111's key, which is no token
constexpr std::int64_t kVectorsMax = 1024;

// What a file brings for one encoder.
struct EncoderVectors {
  std::string component;
  at::Tensor vectors;
};
struct InversionFile {
  std::string token;  // that Diffusers' form names; empty: none
  std::vector<EncoderVectors> parts;
};

Result<at::Tensor> read_vectors(weights::Checkpoint& file, const weights::TensorInfo& info) {
  const auto& shape = info.shape;
  const bool fits = (shape.size() == 1 || shape.size() == 2) && shape.back() > 0 && shape.front() > 0;
  if (!fits)
    return fail(ErrorCode::unsupported, fmt::format("is no textual inversion: tensor '{}' is [{}]", info.name,
                                                    fmt::join(shape, ", ")));
  if (shape.size() == 2 && shape.front() > kVectorsMax)
    return fail(ErrorCode::unsupported,
                fmt::format("has {} vectors; at most {} are taken", shape.front(), kVectorsMax));
  return at::atleast_2d(file.tensor(info.name, shape, at::kFloat, at::kCPU)).clone();
}

// Whether a tensor's name is a token that somebody made up, such as "<cat-toy>": plain words and single signs
// ("*", in old files) are the vocabulary's own.
bool is_made_up(const std::string& name) {
  const auto plain = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; };
  return name != kNameless && name.size() > 2 && !std::ranges::all_of(name, plain);
}

// The encoder that one tensor alone is for; empty for none.
std::string component_of_width(const Widths& widths, std::int64_t width) {
  for (const auto& [component, own] : widths) {
    if (own == width) return component;
  }
  return {};
}

std::string widths_text(const Widths& widths) {
  std::vector<std::int64_t> own;
  for (const auto& [component, width] : widths) own.push_back(width);
  return fmt::format("{}", fmt::join(own, " and "));
}

Result<EncoderVectors> fitting(const Widths& widths, std::string component, at::Tensor vectors) {
  const auto own = widths.find(component);
  if (own != widths.end() && own->second == vectors.size(1))
    return EncoderVectors{std::move(component), std::move(vectors)};
  return fail(ErrorCode::unsupported,
              fmt::format("is for another model: its vectors are {} wide, the model's texts {}",
                          vectors.size(1), widths_text(widths)));
}

Result<InversionFile> read_file(const std::filesystem::path& path, const Widths& widths) {
  TRY(const auto file, weights::Checkpoint::open_file(path));
  const std::vector<weights::TensorInfo> tensors = file->list();
  const auto is_pair = [](const weights::TensorInfo& info) {
    return info.name == "clip_l" || info.name == "clip_g";
  };
  InversionFile read;
  if (!tensors.empty() && std::ranges::all_of(tensors, is_pair)) {
    for (const weights::TensorInfo& info : tensors) {
      TRY(at::Tensor vectors, read_vectors(*file, info));
      TRY(EncoderVectors part, fitting(widths, info.name == "clip_l" ? kFirst : kSecond, std::move(vectors)));
      read.parts.push_back(std::move(part));
    }
    return read;
  }
  if (tensors.size() != 1)
    return fail(ErrorCode::unsupported,
                fmt::format("is no textual inversion: it holds {} tensors, not one, nor clip_l and clip_g",
                            tensors.size()));
  TRY(at::Tensor vectors, read_vectors(*file, tensors.front()));
  const std::string component = component_of_width(widths, vectors.size(1));
  TRY(EncoderVectors part, fitting(widths, component, std::move(vectors)));
  read.parts.push_back(std::move(part));
  if (is_made_up(tensors.front().name)) read.token = tensors.front().name;
  return read;
}

// Where a damaged file's LoadError becomes its Error.
Result<InversionFile> read_found(const FoundFile& found, const Widths& widths) {
  if (!found.refusal.empty()) return fail(ErrorCode::unsupported, found.refusal);
  try {
    return read_file(found.path, widths);
  } catch (const weights::LoadError& error) {
    return tl::unexpected<Error>(error.error);
  }
}

void report(const FoundFile& found, const std::string& why) {
  log(LogLevel::warning, "embedding_left_out",
      {{"file", tokenizers::valid_utf8(found.path.string())}, {"error", why}});
}

}  // namespace

Result<LearnedWords> read_learned_words(const std::filesystem::path& folder, const Widths& widths) {
  TRY(const std::vector<FoundFile> files, find_safetensors(folder));
  LearnedWords words;
  std::set<std::string> taken;
  for (const FoundFile& found : files) {
    const auto file = read_found(found, widths);
    if (!file) {
      report(found, file.error().message);
      continue;
    }
    std::set<std::string> names = {std::filesystem::path(found.name).filename().string()};
    if (!file->token.empty()) names.insert(file->token);
    for (const std::string& name : names) {
      if (!taken.insert(name).second) {
        report(found, fmt::format("another file gives the word '{}' already", name));
        continue;
      }
      for (const EncoderVectors& part : file->parts) words[part.component].push_back({name, part.vectors});
    }
  }
  for (auto& [component, list] : words) std::ranges::sort(list, {}, &LearnedWord::name);
  return words;
}

}  // namespace diffused::pipelines
