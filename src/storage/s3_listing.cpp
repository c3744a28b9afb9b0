#include "storage/s3_listing.h"

#include <expat.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <limits>
#include <memory>
#include <string_view>

namespace diffused::storage {
namespace {

// Takes a document apart as a stream, so that no depth of it costs stack. What no store sends is refused:
// deep nesting, and a DOCTYPE, by which a short document could become a long one.
class XmlReader {
 public:
  // Told of each element when it ends: the names from the root to it ("Error/Code"), and its own text.
  using Visit = std::function<void(std::string_view path, const std::string& text)>;

  // False when it is not well-formed, or refused.
  static bool read(std::string_view xml, const Visit& visit) {
    const std::unique_ptr<XML_ParserStruct, void (*)(XML_Parser)> parser(XML_ParserCreate("UTF-8"),
                                                                         XML_ParserFree);
    if (!parser || xml.size() > std::numeric_limits<int>::max()) return false;
    XmlReader reader(parser.get(), visit);
    XML_SetUserData(parser.get(), &reader);
    XML_SetElementHandler(parser.get(), began, ended);
    XML_SetCharacterDataHandler(parser.get(), said);
    XML_SetStartDoctypeDeclHandler(parser.get(), declared);
    return XML_Parse(parser.get(), xml.data(), static_cast<int>(xml.size()), XML_TRUE) == XML_STATUS_OK;
  }

 private:
  static constexpr std::size_t kDepthMax = 8;
  struct Element {
    std::size_t path_bytes_before;
    std::string text;
  };

  XmlReader(XML_Parser parser, const Visit& visit) : parser_(parser), visit_(visit) {}

  // No exception may cross the library.
  template <typename Step>
  static void guarded(void* reader, const Step& step) {
    auto& self = *static_cast<XmlReader*>(reader);
    try {
      step(self);
    } catch (const std::exception&) {
      XML_StopParser(self.parser_, XML_FALSE);
    }
  }
  static void began(void* reader, const XML_Char* name, const XML_Char**) {
    guarded(reader, [&](XmlReader& self) {
      if (self.open_.size() == kDepthMax) XML_StopParser(self.parser_, XML_FALSE);
      self.open_.push_back({self.path_.size(), {}});
      if (!self.path_.empty()) self.path_ += '/';
      self.path_ += name;
    });
  }
  static void ended(void* reader, const XML_Char*) {
    guarded(reader, [](XmlReader& self) {
      self.visit_(self.path_, self.open_.back().text);
      self.path_.resize(self.open_.back().path_bytes_before);
      self.open_.pop_back();
    });
  }
  static void said(void* reader, const XML_Char* text, int bytes) {
    guarded(reader, [&](XmlReader& self) { self.open_.back().text.append(text, bytes); });
  }
  static void declared(void* reader, const XML_Char*, const XML_Char*, const XML_Char*, int) {
    guarded(reader, [](XmlReader& self) { XML_StopParser(self.parser_, XML_FALSE); });
  }

  XML_Parser parser_;
  const Visit& visit_;
  std::string path_;
  std::vector<Element> open_;
};

std::optional<std::uint64_t> whole_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

std::optional<S3Listing> read_listing(const std::string& xml) {
  S3Listing listing;
  bool is_listing = false, truncated = false, damaged = false;
  std::optional<std::string> name;
  std::optional<std::uint64_t> size;
  const bool read = XmlReader::read(xml, [&](std::string_view path, const std::string& text) {
    if (path == "ListBucketResult/Contents/Key") name = text;
    if (path == "ListBucketResult/Contents/Size") size = whole_number(text);
    if (path == "ListBucketResult/Contents") {
      damaged |= !name || !size;
      if (!damaged) listing.objects.push_back({*name, *size});
      name.reset();
      size.reset();
    }
    if (path == "ListBucketResult/IsTruncated") truncated = text == "true";
    if (path == "ListBucketResult/NextContinuationToken") listing.next = text;
    if (path == "ListBucketResult") is_listing = true;
  });
  if (!read || !is_listing || damaged || (truncated && listing.next.empty())) return std::nullopt;
  if (!truncated) listing.next.clear();
  return listing;
}

std::string error_word(const std::string& xml) {
  std::string word;
  const bool read = XmlReader::read(xml, [&](std::string_view path, const std::string& text) {
    if (path == "Error/Code") word = text;
  });
  const bool good = word.size() <= 64 && std::all_of(word.begin(), word.end(),
                                                     [](unsigned char c) { return std::isalnum(c) != 0; });
  return read && good ? word : std::string();
}

}  // namespace diffused::storage
