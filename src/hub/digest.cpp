#include "hub/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>

#include "base/check.h"

namespace diffused::hub {
namespace {

EVP_MD_CTX* context_of(void* context) { return static_cast<EVP_MD_CTX*>(context); }

}  // namespace

void Digest::Free::operator()(void* context) const { EVP_MD_CTX_free(context_of(context)); }

Digest::Digest(std::string_view hash, std::uint64_t size) : context_(EVP_MD_CTX_new()) {
  const bool git = hash.size() == 40;
  CHECK(context_ != nullptr);
  CHECK(EVP_DigestInit_ex(context_of(context_.get()), git ? EVP_sha1() : EVP_sha256(), nullptr) == 1);
  if (git) update(fmt::format("blob {}", size) + '\0');
}

void Digest::update(std::string_view bytes) {
  CHECK(EVP_DigestUpdate(context_of(context_.get()), bytes.data(), bytes.size()) == 1);
}

std::string Digest::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  CHECK(EVP_DigestFinal_ex(context_of(context_.get()), digest.data(), &size) == 1);
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

}  // namespace diffused::hub
