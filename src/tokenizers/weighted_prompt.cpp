#include "tokenizers/weighted_prompt.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>

namespace diffused::tokenizers {
namespace {

constexpr double kRound = 1.1, kSquare = 1 / 1.1;
constexpr std::size_t kCommaReach = 20;  // ids
constexpr std::string_view kBreak = "BREAK";
constexpr std::string_view kBlanks = " \t\n\r\f\v";

enum class Mark { text, open_round, close_round, open_square, close_square };

struct PromptPiece {
  Mark mark = Mark::text;
  std::string text;
  double factor = 1;  // of what a bracket opens, once its end is known
};

// ":1.3)" at the beginning of `rest`: the weight and how many characters it takes.
struct Ending {
  double weight = 1;
  std::size_t length = 0;
};
std::optional<Ending> weight_ending(std::string_view rest) {
  std::size_t at = rest.find_first_not_of(kBlanks, 1);
  if (at == rest.npos) return std::nullopt;
  if (rest[at] == '+' && rest.substr(at, 2) != "+-") ++at;
  const std::size_t end = std::min(rest.find_first_not_of("-.0123456789", at), rest.size());
  Ending ending;
  const auto [stop, error] =
      std::from_chars(rest.data() + at, rest.data() + end, ending.weight, std::chars_format::fixed);
  if (error != std::errc() || stop != rest.data() + end) return std::nullopt;
  const std::size_t close = rest.find_first_not_of(kBlanks, end);
  if (close == rest.npos || rest[close] != ')') return std::nullopt;
  ending.length = close + 1;
  return ending;
}

// Cuts a prompt into text and brackets, each opening one with the factor that its closing one gives it.
class Cutter {
 public:
  std::vector<PromptPiece> cut(std::string_view prompt) {
    while (!prompt.empty()) prompt.remove_prefix(take(prompt));
    for (const std::size_t open : round_) pieces_[open].factor = kRound;
    for (const std::size_t open : square_) pieces_[open].factor = kSquare;
    return std::move(pieces_);
  }

 private:
  // How many characters were taken.
  std::size_t take(std::string_view rest) {
    const char c = rest.front();
    if (c == '\\') return escaped(rest);
    if (c == '(') return open(Mark::open_round, round_);
    if (c == '[') return open(Mark::open_square, square_);
    if (c == ':' && !round_.empty()) {
      if (const auto ending = weight_ending(rest)) {
        close(Mark::close_round, round_, ending->weight);
        return ending->length;
      }
    }
    if (c == ')' && !round_.empty()) return close(Mark::close_round, round_, kRound);
    if (c == ']' && !square_.empty()) return close(Mark::close_square, square_, kSquare);
    const std::size_t length = std::min(rest.find_first_of("\\()[]:", 1), rest.size());
    add_text(rest.substr(0, length));
    return length;
  }
  std::size_t escaped(std::string_view rest) {
    const bool known = rest.size() > 1 && std::string_view("()[]\\").find(rest[1]) != rest.npos;
    // A backslash before anything else vanishes.
    if (known) add_text(rest.substr(1, 1));
    return known ? 2 : 1;
  }
  std::size_t open(Mark mark, std::vector<std::size_t>& stack) {
    stack.push_back(pieces_.size());
    pieces_.push_back({mark, {}});
    return 1;
  }
  std::size_t close(Mark mark, std::vector<std::size_t>& stack, double factor) {
    pieces_[stack.back()].factor = factor;
    stack.pop_back();
    pieces_.push_back({mark, {}});
    return 1;
  }
  void add_text(std::string_view text) {
    if (pieces_.empty() || pieces_.back().mark != Mark::text) pieces_.push_back({});
    pieces_.back().text += text;
  }

  std::vector<PromptPiece> pieces_;
  std::vector<std::size_t> round_, square_;  // places of the open ones
};

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || (c & 0x80) != 0;
}

// The next BREAK that is a word of its own.
std::size_t find_break(std::string_view text) {
  for (std::size_t at = 0; (at = text.find(kBreak, at)) != text.npos; ++at) {
    const std::size_t end = at + kBreak.size();
    if ((at == 0 || !is_word(text[at - 1])) && (end == text.size() || !is_word(text[end]))) return at;
  }
  return text.npos;
}

void append(std::vector<WeightedText>& parsed, std::string_view text, double weight) {
  if (text.empty()) return;
  if (!parsed.empty() && !parsed.back().is_break && parsed.back().weight == weight)
    parsed.back().text += text;
  else
    parsed.push_back({std::string(text), weight});
}

// Text with its BREAKs, which swallow the blanks round them.
void append_with_breaks(std::vector<WeightedText>& parsed, std::string_view text, double weight) {
  for (std::size_t at = 0; (at = find_break(text)) != text.npos;) {
    const std::string_view before = text.substr(0, at);
    append(parsed, before.substr(0, before.find_last_not_of(kBlanks) + 1), weight);
    parsed.push_back({.text = {}, .weight = 1, .is_break = true});
    const std::size_t rest = text.find_first_not_of(kBlanks, at + kBreak.size());
    text.remove_prefix(std::min(rest, text.size()));
  }
  append(parsed, text, weight);
}

}  // namespace

std::vector<WeightedText> parse_weighted_prompt(std::string_view prompt) {
  std::vector<WeightedText> parsed;
  std::vector<double> round = {1}, square = {1};  // products of the open brackets' factors
  for (const PromptPiece& piece : Cutter().cut(prompt)) {
    switch (piece.mark) {
      case Mark::open_round:
        round.push_back(round.back() * piece.factor);
        break;
      case Mark::close_round:
        round.pop_back();
        break;
      case Mark::open_square:
        square.push_back(square.back() * piece.factor);
        break;
      case Mark::close_square:
        square.pop_back();
        break;
      case Mark::text:
        append_with_breaks(parsed, piece.text, round.back() * square.back());
        break;
    }
  }
  if (parsed.empty()) parsed.emplace_back();
  return parsed;
}

namespace {

// Fills chunks of `length` ids.
class Chunker {
 public:
  Chunker(const Tokenizer& tokenizer, int length)
      : tokenizer_(tokenizer), frame_(tokenizer.frame()), length_(static_cast<std::size_t>(length)) {
    const std::size_t framing = (frame_.begin_id ? 1u : 0u) + (frame_.end_id ? 1u : 0u);
    room_ = std::max(length_, framing + 1) - framing;
    if (const auto comma = tokenizer.text_ids(","); comma.size() == 1) comma_ = comma.front();
  }

  void add(std::string_view text, double weight) {
    const std::vector<int> ids = tokenizer_.text_ids(text);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      begin_together(static_cast<std::size_t>(tokenizer_.ids_from(ids[i])));
      add(ids[i], static_cast<float>(weight));
    }
  }
  void end_chunk() {
    WeightedIds chunk;
    const auto put = [&chunk](int id, float weight) {
      chunk.ids.push_back(id);
      chunk.weights.push_back(weight);
    };
    if (frame_.begin_id) put(*frame_.begin_id, 1);
    for (std::size_t i = 0; i < open_.ids.size(); ++i) put(open_.ids[i], open_.weights[i]);
    if (frame_.end_id) put(*frame_.end_id, 1);
    while (chunk.ids.size() < length_) put(frame_.padding_id, 1);
    chunks_.push_back(std::move(chunk));
    open_ = {};
    last_comma_.reset();
  }
  std::vector<WeightedIds> finish() {
    if (!open_.ids.empty() || chunks_.empty()) end_chunk();
    return std::move(chunks_);
  }

 private:
  void add(int id, float weight) {
    const bool full = open_.ids.size() == room_;
    if (comma_ && id == *comma_) {
      last_comma_ = open_.ids.size();
    } else if (full && last_comma_ && open_.ids.size() - *last_comma_ <= kCommaReach) {
      move_what_follows(*last_comma_ + 1);
    }
    if (open_.ids.size() == room_) end_chunk();
    open_.ids.push_back(id);
    open_.weights.push_back(weight);
  }
  // Ids that stand for one word are not parted, if a chunk holds them at all.
  void begin_together(std::size_t count) {
    if (count > 1 && count <= room_ && open_.ids.size() + count > room_) end_chunk();
  }
  void move_what_follows(std::size_t begin) {
    const auto at = static_cast<std::ptrdiff_t>(begin);
    const WeightedIds rest{{open_.ids.begin() + at, open_.ids.end()},
                           {open_.weights.begin() + at, open_.weights.end()}};
    open_.ids.resize(begin);
    open_.weights.resize(begin);
    end_chunk();
    open_ = rest;
  }

  const Tokenizer& tokenizer_;
  const Frame frame_;
  const std::size_t length_;
  std::size_t room_ = 0;  // ids of text in a chunk
  std::optional<int> comma_;
  std::vector<WeightedIds> chunks_;
  WeightedIds open_;                       // the chunk being filled, text only
  std::optional<std::size_t> last_comma_;  // in it
};

}  // namespace

std::vector<WeightedIds> weighted_chunks(const Tokenizer& tokenizer, std::string_view prompt, int length) {
  Chunker chunker(tokenizer, length);
  for (const WeightedText& piece : parse_weighted_prompt(prompt)) {
    if (piece.is_break)
      chunker.end_chunk();
    else
      chunker.add(piece.text, piece.weight);
  }
  return chunker.finish();
}

WeightedIds weighted_text(const Tokenizer& tokenizer, std::string_view prompt, int length) {
  const Frame& frame = tokenizer.frame();
  const auto size = static_cast<std::size_t>(std::max(length, 1));
  WeightedIds text;
  if (frame.begin_id) text = {{*frame.begin_id}, {1}};
  for (const WeightedText& piece : parse_weighted_prompt(prompt)) {
    if (piece.is_break) continue;
    for (const int id : tokenizer.text_ids(piece.text)) {
      text.ids.push_back(id);
      text.weights.push_back(static_cast<float>(piece.weight));
    }
  }
  text.ids.resize(std::min(text.ids.size(), size - (frame.end_id ? 1 : 0)));
  text.weights.resize(text.ids.size());
  if (frame.end_id) text.ids.push_back(*frame.end_id);
  text.ids.resize(size, frame.padding_id);
  text.weights.resize(size, 1);
  return text;
}

}  // namespace diffused::tokenizers
