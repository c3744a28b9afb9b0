// tokenizer_encode KIND FOLDER LENGTH: reads one JSON string a line on stdin and writes its ids as a JSON
// array a line; KIND is clip, t5 or qwen2. LENGTH 0 writes all ids of the text, without padding. For
// tests/parity/test_tokenizers.py.
#include <fmt/format.h>

#include <boost/json/parse.hpp>
#include <cstdlib>
#include <iostream>
#include <string>

#include "tokenizers/tokenizer.h"

namespace {

using diffused::tokenizers::Encoding;
using diffused::tokenizers::Tokenizer;

Encoding encode(const Tokenizer& tokenizer, const std::string& text, int length) {
  if (length > 0) return tokenizer.encode(text, length);
  const int all = tokenizer.encode(text, 2).token_count;
  // A text of no ids at all cannot be asked for.
  return all == 0 ? Encoding() : tokenizer.encode(text, all);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: tokenizer_encode clip|t5|qwen2 FOLDER LENGTH\n";
    return EXIT_FAILURE;
  }
  const std::string kind = argv[1];
  const auto tokenizer = kind == "clip" ? diffused::tokenizers::load_clip_tokenizer(argv[2])
                         : kind == "t5" ? diffused::tokenizers::load_t5_tokenizer(argv[2])
                                        : diffused::tokenizers::load_qwen2_tokenizer(argv[2]);
  if (!tokenizer) {
    std::cerr << tokenizer.error().message << "\n";
    return 2;
  }
  const int length = std::atoi(argv[3]);
  for (std::string line; std::getline(std::cin, line);) {
    const std::string text(boost::json::parse(line).as_string());
    std::cout << fmt::format("[{}]\n", fmt::join(encode(**tokenizer, text, length).ids, ","));
  }
  return EXIT_SUCCESS;
}
