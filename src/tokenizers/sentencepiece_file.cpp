#include "tokenizers/sentencepiece_file.h"

#include <bit>
#include <cstdint>
#include <optional>

#include "tokenizers/unicode.h"

namespace diffused::tokenizers {
namespace {

// Field numbers and values of sentencepiece_model.proto.
namespace model_field {
constexpr std::uint64_t kPieces = 1, kTrainerSpec = 2, kNormalizerSpec = 3;
}
namespace piece_field {
constexpr std::uint64_t kPiece = 1, kScore = 2, kType = 3;
}
constexpr std::uint64_t kTrainerModelType = 3;
constexpr std::uint64_t kNormalizerCharsmap = 2;
constexpr std::uint64_t kUnigram = 1;
constexpr std::uint64_t kControl = 3;
constexpr std::uint64_t kUserDefined = 4;

// One field of a protobuf message: a number (varint, fixed32, fixed64) or bytes.
struct Field {
  std::uint64_t number = 0;
  std::uint64_t value = 0;
  std::string_view bytes = {};
};

// Reads the fields of one message in order.
class FieldReader {
 public:
  explicit FieldReader(std::string_view message) : rest_(message) {}

  bool done() const { return rest_.empty(); }

  // Nothing when the message is damaged.
  std::optional<Field> next() {
    enum WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
    const auto tag = varint();
    if (!tag) return std::nullopt;
    Field field{.number = *tag >> 3};
    std::optional<std::uint64_t> value;
    switch (*tag & 7) {
      case kVarint:
        value = varint();
        break;
      case kFixed64:
        value = fixed(8);
        break;
      case kFixed32:
        value = fixed(4);
        break;
      case kBytes:
        value = varint();
        if (!value || *value > rest_.size()) return std::nullopt;
        field.bytes = rest_.substr(0, *value);
        rest_.remove_prefix(*value);
        break;
      default:
        return std::nullopt;
    }
    if (!value) return std::nullopt;
    field.value = *value;
    return field;
  }

 private:
  std::optional<std::uint64_t> varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= std::uint64_t{byte & 0x7FU} << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }

  std::optional<std::uint64_t> fixed(std::size_t size) {
    if (rest_.size() < size) return std::nullopt;
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size; ++i)
      value |= std::uint64_t{static_cast<unsigned char>(rest_[i])} << (8 * i);
    rest_.remove_prefix(size);
    return value;
  }

  std::string_view rest_;
};

tl::unexpected<Error> damaged() {
  return fail(ErrorCode::data_loss, "is not a SentencePiece model, or is cut off");
}

// Calls visit(field) -> Result<void> for each field of `message`.
template <typename Visit>
Result<void> visit_fields(std::string_view message, Visit visit) {
  for (FieldReader reader(message); !reader.done();) {
    const auto field = reader.next();
    if (!field) return damaged();
    TRY_VOID(visit(*field));
  }
  return {};
}

Result<void> add_piece(std::string_view message, SentencePieceModel& model) {
  Piece piece;
  std::uint64_t type = 0;
  TRY_VOID(visit_fields(message, [&](const Field& field) -> Result<void> {
    if (field.number == piece_field::kPiece) piece.first = field.bytes;
    if (field.number == piece_field::kScore)
      piece.second = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
    if (field.number == piece_field::kType) type = field.value;
    return {};
  }));
  if (valid_utf8(piece.first) != piece.first) return damaged();
  if (type == kControl || type == kUserDefined) model.special_pieces.push_back(piece.first);
  model.pieces.push_back(std::move(piece));
  return {};
}

}  // namespace

Result<SentencePieceModel> parse_sentencepiece(std::string_view content) {
  SentencePieceModel model;
  std::uint64_t model_type = kUnigram;
  bool normalizer_seen = false;
  const auto read_trainer = [&](const Field& field) -> Result<void> {
    if (field.number == kTrainerModelType) model_type = field.value;
    return {};
  };
  const auto read_normalizer = [&](const Field& field) -> Result<void> {
    if (field.number == kNormalizerCharsmap) model.precompiled_charsmap = field.bytes;
    return {};
  };
  TRY_VOID(visit_fields(content, [&](const Field& field) -> Result<void> {
    if (field.number == model_field::kPieces) return add_piece(field.bytes, model);
    if (field.number == model_field::kTrainerSpec) return visit_fields(field.bytes, read_trainer);
    if (field.number != model_field::kNormalizerSpec) return {};
    normalizer_seen = true;
    return visit_fields(field.bytes, read_normalizer);
  }));
  if (model_type != kUnigram) return fail(ErrorCode::unsupported, "must be a unigram model");
  // The normaliser stands behind the pieces: without it, a file cut off between two pieces would pass for a
  // whole one.
  if (model.pieces.empty() || !normalizer_seen) return damaged();
  return model;
}

}  // namespace diffused::tokenizers
