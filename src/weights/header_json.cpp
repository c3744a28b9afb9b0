#include "weights/header_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <limits>
#include <optional>
#include <unordered_set>

namespace diffused::weights {
namespace {

namespace json = boost::json;

std::optional<at::ScalarType> parse_dtype(std::string_view name) {
  for (const at::ScalarType dtype :
       {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble, at::kFloat8_e4m3fn, at::kFloat8_e5m2, at::kLong,
        at::kInt, at::kShort, at::kChar, at::kByte, at::kBool, at::kUInt64, at::kUInt32, at::kUInt16}) {
    if (dtype_name(dtype) == name) return dtype;
  }
  return std::nullopt;
}

// What basic_parser calls for each piece of the document. A method that returns false ends the parse; error_
// says why.
class Handler {
 public:
  static constexpr std::size_t max_object_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_array_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_key_size = 4096;
  static constexpr std::size_t max_string_size = kHeaderBytesMax;

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }

  bool on_object_begin(json::error_code& ec) {
    ++depth_;
    if (depth_ == 1) return true;
    if (depth_ != 2) return refuse(ec, "an object where none belongs");
    if (in_metadata_) return true;
    if (header_.entries.size() == kTensorsMax)
      return refuse(ec, fmt::format("more than {} tensors", kTensorsMax));
    header_.entries.push_back({.name = name_, .shape = {}});
    has_dtype_ = has_shape_ = has_offsets_ = false;
    return true;
  }
  bool on_object_end(std::size_t, json::error_code& ec) {
    if (depth_-- != 2 || in_metadata_) return true;
    if (!has_dtype_ || !has_shape_ || !has_offsets_)
      return refuse(ec, "dtype, shape and data_offsets are needed");
    return true;
  }
  bool on_array_begin(json::error_code& ec) {
    const bool expected =
        depth_ == 2 && !in_metadata_ && (field_ == "shape" || field_ == "data_offsets") && !in_array_;
    if (!expected) return refuse(ec, "an array where none belongs");
    in_array_ = true;
    offsets_seen_ = 0;
    return true;
  }
  bool on_array_end(std::size_t, json::error_code& ec) {
    in_array_ = false;
    if (field_ == "data_offsets" && offsets_seen_ != 2) return refuse(ec, "data_offsets must be two numbers");
    return true;
  }

  bool on_key_part(json::string_view part, std::size_t, json::error_code&) {
    text_.append(part.data(), part.size());
    return true;
  }
  bool on_key(json::string_view part, std::size_t, json::error_code& ec) {
    const std::string key = take_text(part);
    if (depth_ == 2 && in_metadata_) {
      field_ = key;
      return true;
    }
    if (depth_ == 2) return begin_field(key, ec);
    // Names end up in error messages of one line.
    if (std::ranges::any_of(key, [](unsigned char c) { return c < 0x20 || c == 0x7f; })) {
      return refuse(ec, "a name with control characters");
    }
    name_ = key;
    in_metadata_ = key == "__metadata__";
    if (!names_.insert(key).second) return refuse(ec, "a name given twice");
    return true;
  }
  bool on_string_part(json::string_view part, std::size_t, json::error_code&) {
    text_.append(part.data(), part.size());
    return true;
  }
  bool on_string(json::string_view part, std::size_t, json::error_code& ec) {
    std::string text = take_text(part);
    if (depth_ == 2 && in_metadata_) {
      header_.metadata.insert_or_assign(field_, std::move(text));
      return true;
    }
    if (depth_ != 2 || in_array_ || field_ != "dtype") return refuse(ec, "a string where none belongs");
    const auto dtype = parse_dtype(text);
    if (!dtype) return refuse_dtype(ec, text);
    header_.entries.back().dtype = *dtype;
    return true;
  }

  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(std::int64_t value, json::string_view, json::error_code& ec) {
    return value < 0 ? refuse(ec, "a negative size or offset")
                     : on_uint64(static_cast<std::uint64_t>(value), {}, ec);
  }
  bool on_uint64(std::uint64_t value, json::string_view, json::error_code& ec) {
    if (!in_array_) return refuse(ec, "a number where none belongs");
    if (field_ == "data_offsets") {
      if (offsets_seen_ == 2) return refuse(ec, "data_offsets must be two numbers");
      Entry& entry = header_.entries.back();
      (offsets_seen_++ == 0 ? entry.begin : entry.end) = value;
      return true;
    }
    auto& shape = header_.entries.back().shape;
    if (shape.size() == kRankMax) return refuse(ec, fmt::format("more than {} dimensions", kRankMax));
    if (value > static_cast<std::uint64_t>(kDimensionMax)) return refuse(ec, "a dimension past 2^31");
    shape.push_back(static_cast<std::int64_t>(value));
    return true;
  }
  bool on_double(double, json::string_view, json::error_code& ec) {
    return refuse(ec, "a size or offset is not whole");
  }
  bool on_bool(bool, json::error_code& ec) { return refuse(ec, "a truth value where none belongs"); }
  bool on_null(json::error_code& ec) { return refuse(ec, "a null where none belongs"); }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

  Header& header() { return header_; }
  std::optional<Error>& error() { return error_; }

 private:
  bool begin_field(const std::string& key, json::error_code& ec) {
    bool* const seen = key == "dtype"          ? &has_dtype_
                       : key == "shape"        ? &has_shape_
                       : key == "data_offsets" ? &has_offsets_
                                               : nullptr;
    if (!seen) return refuse(ec, "a field that is none of dtype, shape, data_offsets");
    if (*seen) return refuse(ec, "a field given twice");
    *seen = true;
    field_ = key;
    return true;
  }
  std::string take_text(json::string_view last_part) {
    text_.append(last_part.data(), last_part.size());
    return std::exchange(text_, {});
  }
  bool refuse(json::error_code& ec, std::string_view reason, ErrorCode code = ErrorCode::data_loss) {
    error_ = Error{code,
                   name_.empty() ? fmt::format("damaged header: {}", reason)
                                 : fmt::format("damaged header at '{}': {}", name_, reason),
                   {},
                   {}};
    ec = json::make_error_code(json::error::syntax);
    return false;
  }

  bool refuse_dtype(json::error_code& ec, std::string_view dtype) {
    refuse(ec, "");
    constexpr std::size_t kNameMax = 16;
    error_ = Error{
        ErrorCode::unsupported,
        fmt::format("tensor '{}' is of type '{}', which is not read here", name_, dtype.substr(0, kNameMax)),
        {},
        {}};
    return false;
  }

  Header header_;
  std::unordered_set<std::string> names_;
  std::optional<Error> error_;
  std::string text_;   // the parts of a key or string seen so far
  std::string name_;   // the tensor (or __metadata__) being read
  std::string field_;  // its field being read
  int depth_ = 0, offsets_seen_ = 0;
  bool in_metadata_ = false, in_array_ = false;
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
};

}  // namespace

Result<Header> parse_header_json(std::string_view text) {
  json::basic_parser<Handler> parser{json::parse_options{}};
  json::error_code ec;
  const std::size_t read = parser.write_some(false, text.data(), text.size(), ec);
  Handler& handler = parser.handler();
  if (handler.error()) return tl::unexpected<Error>(std::move(*handler.error()));
  if (ec || !parser.done()) return fail(ErrorCode::data_loss, "damaged header: not valid JSON");
  // Python pads the header with blanks so that the data starts aligned.
  if (text.find_first_not_of(" \t\r\n", read) != std::string_view::npos) {
    return fail(ErrorCode::data_loss, "damaged header: something follows the JSON object");
  }
  return std::move(handler.header());
}

}  // namespace diffused::weights
