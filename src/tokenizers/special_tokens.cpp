#include "tokenizers/special_tokens.h"

#include <algorithm>
#include <charconv>
#include <map>

namespace diffused::tokenizers {
namespace {

using TokensById = std::map<int, AddedToken>;

// A token is a string, or an object of flags. Special tokens are by default looked for before normalising.
Result<AddedToken> read_token(const json::value& value, bool special, const std::filesystem::path& file) {
  AddedToken token;
  if (value.is_string()) {
    token.content = value.get_string();
    return token;
  }
  const json::object* fields = value.if_object();
  const json::value* content = fields == nullptr ? nullptr : fields->if_contains("content");
  if (content == nullptr || !content->is_string()) {
    return bad_file(ErrorCode::data_loss, file,
                    "a special token must be a string or an object with a \"content\"");
  }
  const auto flag = [&](const char* name, bool otherwise) {
    const json::value* given = fields->if_contains(name);
    return given != nullptr && given->is_bool() ? given->get_bool() : otherwise;
  };
  token.content = content->get_string();
  token.single_word = flag("single_word", false);
  token.lstrip = flag("lstrip", false);
  token.rstrip = flag("rstrip", false);
  token.normalized = flag("normalized", !flag("special", special));
  return token;
}

Result<std::vector<AddedToken>> read_list(const json::value& list, const std::filesystem::path& file) {
  if (!list.is_array()) return bad_file(ErrorCode::data_loss, file, "special tokens must be in an array");
  std::vector<AddedToken> tokens;
  for (const json::value& value : list.get_array()) {
    TRY(AddedToken token, read_token(value, true, file));
    tokens.push_back(std::move(token));
  }
  return tokens;
}

std::vector<AddedToken>::const_iterator find_content(const std::vector<AddedToken>& tokens,
                                                     std::string_view content) {
  return std::find_if(tokens.begin(), tokens.end(),
                      [&](const AddedToken& token) { return token.content == content; });
}

// Puts `token` at the end, or in place of the one with the same content: the last word on its flags counts.
void put_token(std::vector<AddedToken>& tokens, const AddedToken& token) {
  const auto found = find_content(tokens, token.content);
  if (found == tokens.end()) {
    tokens.push_back(token);
  } else {
    tokens[static_cast<std::size_t>(found - tokens.begin())] = token;
  }
}

const json::value* find_set(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

// `added_tokens_decoder` of tokenizer_config.json: {"49406": {"content": …}, …}.
Result<TokensById> read_decoder(const json::value& decoder, const std::filesystem::path& file) {
  TokensById tokens;
  if (!decoder.is_object()) {
    return bad_file(ErrorCode::data_loss, file, "\"added_tokens_decoder\" must be an object");
  }
  for (const auto& [key, value] : decoder.get_object()) {
    int id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || !value.is_object()) {
      return bad_file(ErrorCode::data_loss, file, "\"added_tokens_decoder\" must map ids to objects");
    }
    TRY(tokens[id], read_token(value, false, file));
  }
  return tokens;
}

// added_tokens.json, {"<token>": 49408, …}, and the `added_tokens` of tokenizer.json, [{"id": 49408,
// "content": …}, …].
Result<TokensById> read_added_tokens(const Folder& folder) {
  TokensById tokens;
  for (const auto& [content, id] : folder.added_tokens) {
    if (!id.is_int64()) {
      return bad_file(ErrorCode::data_loss, folder.path / "added_tokens.json", "must map tokens to ids");
    }
    tokens[static_cast<int>(id.get_int64())] = AddedToken{.content = content, .normalized = true};
  }
  if (!folder.tokenizer) return tokens;
  const std::filesystem::path file = tokenizer_file(folder);
  TRY(const json::array* list, array_member(*folder.tokenizer, "added_tokens", file));
  for (const json::value& value : *list) {
    const json::value* id = value.is_object() ? value.get_object().if_contains("id") : nullptr;
    if (id == nullptr || !id->is_int64()) {
      return bad_file(ErrorCode::data_loss, file, "an added token needs an \"id\"");
    }
    TRY(tokens[static_cast<int>(id->get_int64())], read_token(value, false, file));
  }
  return tokens;
}

// What tokenizer_config.json, or for older folders special_tokens_map.json, says of one key.
Result<std::optional<AddedToken>> read_role(const Folder& folder, std::string_view key, bool read_map) {
  if (const json::value* in_map = read_map ? find_set(folder.special_tokens_map, key) : nullptr) {
    return read_token(*in_map, true, map_file(folder));
  }
  const json::value* in_config = find_set(folder.config, key);
  if (in_config == nullptr) return std::nullopt;
  return read_token(*in_config, false, config_file(folder));
}

}  // namespace

Result<std::vector<AddedToken>> read_additional_tokens(const Folder& folder) {
  const json::value* list = find_set(folder.special_tokens_map, "additional_special_tokens");
  if (list == nullptr) return std::vector<AddedToken>();
  return read_list(*list, map_file(folder));
}

Result<SpecialTokens> read_special_tokens(const Folder& folder, const TokenRoles& defaults,
                                          const std::vector<AddedToken>& extras) {
  SpecialTokens special{.added = {}, .roles = defaults};
  const json::value* decoder = folder.config.if_contains("added_tokens_decoder");
  TRY(const TokensById declared,
      decoder ? read_decoder(*decoder, config_file(folder)) : read_added_tokens(folder));
  for (const auto& [id, token] : declared) put_token(special.added, token);

  const std::vector<AddedToken> first = special.added;
  const auto add_undeclared = [&](const AddedToken& token) {
    if (find_content(first, token.content) == first.end()) put_token(special.added, token);
  };
  struct Role {
    const char* key;
    std::string* content;
  };
  std::string others[3];
  const Role roles[] = {{"bos_token", &special.roles.begin},
                        {"eos_token", &special.roles.end},
                        {"unk_token", &special.roles.unknown},
                        {"sep_token", &others[0]},
                        {"pad_token", &special.roles.padding},
                        {"cls_token", &others[1]},
                        {"mask_token", &others[2]}};
  for (const Role& role : roles) {
    TRY(const std::optional<AddedToken> named, read_role(folder, role.key, decoder == nullptr));
    const bool names_one = named && !named->content.empty();
    if (names_one) *role.content = named->content;
    add_undeclared(names_one ? *named : AddedToken{.content = *role.content});
  }

  const json::value* listed = find_set(folder.config, "extra_special_tokens");
  if (listed == nullptr) listed = find_set(folder.config, "additional_special_tokens");
  std::vector<AddedToken> further = extras;
  if (listed != nullptr) {
    TRY(further, read_list(*listed, config_file(folder)));
  }
  for (const AddedToken& token : further) add_undeclared(token);
  return special;
}

std::unordered_map<std::string, int> assign_ids(std::vector<AddedToken>& tokens,
                                                const std::unordered_map<std::string, int>& vocabulary,
                                                std::size_t vocabulary_size) {
  std::unordered_map<std::string, int> ids;
  int next_id = static_cast<int>(vocabulary_size);
  std::erase_if(tokens, [](const AddedToken& token) { return token.content.empty(); });
  for (AddedToken& token : tokens) {
    const auto known = vocabulary.find(token.content);
    token.id = known != vocabulary.end() ? known->second : next_id++;
    ids.emplace(token.content, token.id);
  }
  return ids;
}

}  // namespace diffused::tokenizers
