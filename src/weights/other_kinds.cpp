#include "weights/other_kinds.h"

#include <algorithm>
#include <cctype>

namespace diffused::weights {
namespace {

struct Kind {
  std::string_view mark, message;
};
constexpr Kind kBeginnings[] = {
    {"GGUF", "a GGUF file, which is not read here: take the weights as safetensors"},
    {"PK\x03\x04", "a pickled checkpoint (.ckpt, .pt), which is never read: take the weights as safetensors"},
    {"\x80\x02", "a pickled checkpoint (.ckpt, .pt), which is never read: take the weights as safetensors"},
    {"\x80\x04", "a pickled checkpoint (.ckpt, .pt), which is never read: take the weights as safetensors"},
    {"\x89HDF\r\n", "an HDF5 file (.h5), which is not read here: take the weights as safetensors"},
    {"\x1f\x8b", "a gzip archive: unpack it"},
    {"\x89PNG", "a PNG picture, no weights"},
    {"\xff\xd8\xff", "a JPEG picture, no weights"},
};
constexpr Kind kTexts[] = {
    {"version https://git-lfs.github.com/spec/",
     "half-downloaded: a git-lfs pointer instead of the weights (git lfs pull fetches them)"},
    {"<!doctype html", "an HTML page instead of the weights: a page about the file, or a server's refusal"},
    {"<html", "an HTML page instead of the weights: a page about the file, or a server's refusal"},
    {"<", "an XML or HTML text instead of the weights, such as a server's refusal"},
    {"{\"", "a JSON text instead of the weights, such as a server's refusal"},
};
constexpr std::size_t kTextMax = 256;  // bytes that are looked at

// By the end of a tensor's name, or by a part of it.
constexpr Kind kPacked[] = {
    {"quant_state.bitsandbytes__nf4", "bitsandbytes (4 bits, nf4)"},
    {"quant_state.bitsandbytes__fp4", "bitsandbytes (4 bits, fp4)"},
    {".quant_map", "bitsandbytes (4 bits)"},
    {".absmax", "bitsandbytes (4 bits)"},
    {".SCB", "bitsandbytes (8 bits)"},
    {".qzeros", "GPTQ or AWQ"},
    {".wscales", "SVDQuant"},
};

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return lower;
}

}  // namespace

std::optional<Error> other_kind(std::string_view file) {
  for (const Kind& kind : kBeginnings) {
    if (file.starts_with(kind.mark)) return Error{ErrorCode::unsupported, std::string(kind.message), {}, {}};
  }
  std::string text = lower_case(file.substr(0, kTextMax));
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
  text.erase(0, text.find_first_not_of(" \t\r\n"));
  for (const Kind& kind : kTexts) {
    if (text.starts_with(kind.mark)) return Error{ErrorCode::data_loss, std::string(kind.message), {}, {}};
  }
  return std::nullopt;
}

std::string_view packed_by(std::string_view tensor) {
  for (const Kind& kind : kPacked) {
    if (tensor.ends_with(kind.mark)) return kind.message;
  }
  return {};
}

}  // namespace diffused::weights
