// API keys: who may use the server, and under which name their work is counted.
#pragma once

#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "http/exchange.h"

namespace diffused::api {

// Whose a key is.
struct KeyHolder {
  std::string name;
  int priority = 0;  // of background jobs that are sent with this key: higher goes first
  std::map<std::string, std::string> aliases =
      {};                    // the model that is meant by a name, for this holder alone
  bool is_operator = false;  // sees everybody's work and may load and unload models
};
constexpr int kPriorityMax = 100;  // and its negative the least

// The keys of a key file: a line for each, "NAME sha256:HEX", behind which "priority=N", "operator" and any
// number of "alias=NAME=MODEL" may stand, where HEX is the SHA-256 of the key and N from -100 to 100; "#"
// begins a comment. The keys themselves stand nowhere. A name may have several keys, so that one can replace
// another without a pause. A fast hash will do, because keys are drawn and not thought up: nobody guesses 128
// bits. Immutable; any thread.
class KeyRing {
 public:
  // Errors: invalid_argument with the line's number: malformed, or no key at all, which would lock everybody
  // out.
  static Result<KeyRing> parse(std::string_view text);

  // The key's holder, or null. Every digest is compared, in constant time each: how long it takes
  // tells nothing of how near a wrong key is.
  const KeyHolder* holder_of(std::string_view key) const;

  // The aliases of all the keys of one holder.
  std::map<std::string, std::string> aliases_of(std::string_view holder) const;

 private:
  using Digest = std::array<unsigned char, 32>;
  struct Entry {
    KeyHolder holder;
    Digest digest;
  };
  static Digest digest_of(std::string_view key);
  friend Result<std::string> key_line(const KeyHolder& holder, std::string_view key);

  std::vector<Entry> entries_;
};

// Slows whoever guesses, by address, and nobody else: a right key is never held up. Any thread.
class WrongKeys {
 public:
  // Notes a wrong key and says how long its answer is to be held back: the first few of a minute not at all,
  // the next by more and more, up to two seconds.
  std::chrono::milliseconds note(const std::string& peer, SteadyTime now);

 private:
  struct Count {
    SteadyTime since;
    int keys = 0;
  };
  std::mutex mutex_;
  std::map<std::string, Count> counts_;  // guarded by mutex_
};

// The ring that counts now; a running server may be given another one. Any thread.
class Keys {
 public:
  explicit Keys(KeyRing ring) : ring_(std::make_shared<const KeyRing>(std::move(ring))) {}

  // Requests that were let in go on; the next ones are held against the new ring.
  void replace(KeyRing ring);
  // The key's holder, if it has one.
  std::optional<KeyHolder> holder_of(std::string_view key) const;
  std::map<std::string, std::string> aliases_of(std::string_view holder) const;
  WrongKeys& wrong_keys() const { return wrong_keys_; }

 private:
  std::shared_ptr<const KeyRing> ring() const;

  mutable WrongKeys wrong_keys_;
  mutable std::mutex mutex_;
  std::shared_ptr<const KeyRing> ring_;  // guarded by mutex_
};

// The key file's line for a key. Errors: invalid_argument when the name is not 1 to 64 of A-Z, a-z, 0-9, '.',
// '_' and '-', the priority not one of a key file, or an alias empty or with blanks or '#' in it.
Result<std::string> key_line(const KeyHolder& holder, std::string_view key);

// How a key is shown: "Authorization: Bearer KEY" or "api-key: KEY"; with `basic` also as the password of
// "Authorization: Basic …", whatever the user name.
enum class KeyScheme { bearer, basic };

// Lets requests with one of the keys pass, as its holder's (Request::user and priority), and answers the
// others with 401, those with a wrong key the later the more of them come. No keys (null) let everybody pass.
// `clock` must outlive the gate.
http::Gate key_gate(std::shared_ptr<const Keys> keys, KeyScheme scheme, const Clock& clock);

// Whether who asks may see everybody's work and change what the server keeps: the holder of an operator's
// key; where there are no keys, a program of this machine that no proxy stands before.
bool is_operator(const http::Request& request, const Keys* keys);

// Whose work a request is: its key's holder's, or its address's where there are no keys.
const std::string& user_of(const http::Request& request);

// The model that a user means by a name: what it stands for among the user's own aliases, else the name
// itself. `keys` may be null.
std::string model_meant(const Keys* keys, const std::string& user, const std::string& name);

}  // namespace diffused::api
