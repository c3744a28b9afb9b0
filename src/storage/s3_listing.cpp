#include "storage/s3_listing.h"

#include <algorithm>
#include <boost/property_tree/ptree.hpp>
#include <boost/property_tree/xml_parser.hpp>
#include <sstream>

namespace diffused::storage {
namespace {

namespace tree = boost::property_tree;

std::optional<tree::ptree> parse(const std::string& xml) {
  try {
    std::istringstream text(xml);
    tree::ptree document;
    tree::read_xml(text, document);
    return document;
  } catch (const tree::xml_parser_error&) {
    return std::nullopt;
  }
}

}  // namespace

std::optional<S3Listing> read_listing(const std::string& xml) {
  const auto document = parse(xml);
  const auto list = document ? document->get_child_optional("ListBucketResult") : boost::none;
  if (!list) return std::nullopt;
  S3Listing listing;
  for (const auto& [tag, node] : *list) {
    if (tag != "Contents") continue;
    const auto name = node.get_optional<std::string>("Key");
    const auto size = node.get_optional<std::uint64_t>("Size");
    if (!name || !size) return std::nullopt;
    listing.objects.push_back({*name, *size});
  }
  if (list->get<std::string>("IsTruncated", "false") == "true") {
    listing.next = list->get<std::string>("NextContinuationToken", "");
    if (listing.next.empty()) return std::nullopt;
  }
  return listing;
}

std::string error_word(const std::string& xml) {
  const auto document = parse(xml);
  const std::string word = document ? document->get<std::string>("Error.Code", "") : "";
  const bool good = word.size() <= 64 && std::all_of(word.begin(), word.end(),
                                                     [](unsigned char c) { return std::isalnum(c) != 0; });
  return good ? word : std::string();
}

}  // namespace diffused::storage
