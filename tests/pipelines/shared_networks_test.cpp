// Models whose folders hold equal networks: one copy of each, and pictures as if each had its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "pipelines/tiny_lora.h"
#include "pipelines/tiny_model.h"

namespace diffused::pipelines {
namespace {

namespace fs = std::filesystem;

const fs::path kTextWeights = "text_encoder/model.safetensors";

std::vector<std::uint64_t> ids_of(const Pipeline& pipeline) {
  std::vector<std::uint64_t> ids;
  for (const NetworkWeights& network : pipeline.info().networks) ids.push_back(network.id);
  std::ranges::sort(ids);
  return ids;
}

std::vector<std::uint64_t> common_ids(const Pipeline& one, const Pipeline& other) {
  const auto a = ids_of(one), b = ids_of(other);
  std::vector<std::uint64_t> both;
  std::ranges::set_intersection(a, b, std::back_inserter(both));
  return both;
}

std::uint64_t bytes_together(const Pipeline& one, const Pipeline& other) {
  WeightSum sum;
  sum.add(one.info().networks);
  sum.add(other.info().networks);
  return sum.bytes();
}

// The last byte of the last tensor.
void change_one_byte(const fs::path& file) {
  std::string bytes = read_file(file);
  bytes.back() ^= 1;
  write_file(file, bytes);
}

class SharedNetworks : public ::testing::Test {
 protected:
  std::unique_ptr<Pipeline> load(const fs::path& folder, const fs::path& loras = {}) const {
    return load_tiny(folder, {.dtype = "fp32", .loras = loras, .networks = store});
  }
  // As a server that has no other model makes it.
  static std::vector<std::uint8_t> alone(const fs::path& folder, const GenerateRequest& request,
                                         const fs::path& loras = {}) {
    return picture(*load_tiny(folder, {.dtype = "fp32", .loras = loras}), request).pixels;
  }

  const std::shared_ptr<NetworkStore> store = make_network_store();
  const GenerateRequest request = request_of("a fox in the snow");
};

TEST_F(SharedNetworks, CopiesAndLinksAreInMemoryOnce) {
  const TinyModel one, copy, linked;
  fs::remove(linked.path() / kTextWeights);
  fs::create_hard_link(one.path() / kTextWeights, linked.path() / kTextWeights);
  const auto first = load(one.path()), second = load(copy.path()), third = load(linked.path());
  EXPECT_EQ(ids_of(*first), ids_of(*second));
  EXPECT_EQ(ids_of(*first), ids_of(*third));
  EXPECT_EQ(bytes_together(*first, *second), first->info().weight_bytes());
  EXPECT_EQ(second->info().parameters, first->info().parameters);
  const auto expected = alone(one.path(), request);
  for (const auto* const pipeline : {&first, &second, &third})
    EXPECT_EQ(picture(**pipeline, request).pixels, expected);
}

TEST_F(SharedNetworks, WhatDiffersInOneByteIsNotShared) {
  const TinyModel one, other;
  change_one_byte(other.path() / kTextWeights);
  const auto first = load(one.path()), second = load(other.path());
  EXPECT_EQ(common_ids(*first, *second).size(), ids_of(*first).size() - 1);
  EXPECT_EQ(picture(*first, request).pixels, alone(one.path(), request));
  EXPECT_EQ(picture(*second, request).pixels, alone(other.path(), request));
}

TEST_F(SharedNetworks, GoWithTheLastModelThatHasThem) {
  const TinyModel one, other;
  change_one_byte(other.path() / kTextWeights);
  const auto expected = alone(one.path(), request), expected_of_other = alone(other.path(), request);
  auto first = load(one.path()), second = load(other.path());
  const auto ids = ids_of(*first);
  first.reset();
  EXPECT_EQ(picture(*second, request).pixels, expected_of_other);
  first = load(one.path());
  EXPECT_EQ(ids_of(*first), ids);
  second.reset();
  EXPECT_EQ(picture(*first, request).pixels, expected);
}

// As the pool's thread does while the device thread makes pictures.
TEST_F(SharedNetworks, OneIsLoadedAndFreedWhileAnotherRuns) {
  const TinyModel one, other;
  change_one_byte(other.path() / kTextWeights);
  const auto expected = alone(one.path(), request), expected_of_other = alone(other.path(), request);
  const auto first = load(one.path());
  std::atomic<bool> done = false;
  std::thread pool([&] {
    for (int i = 0; i < 5; ++i) {
      const auto second = load(other.path());
      EXPECT_EQ(common_ids(*first, *second).size(), ids_of(*first).size() - 1);
      EXPECT_EQ(picture(*second, request).pixels, expected_of_other);
    }
    done = true;
  });
  while (!done) EXPECT_EQ(picture(*first, request).pixels, expected);
  pool.join();
}

TEST_F(SharedNetworks, ModelsShareWhatTheyCallByOtherNames) {
  // The other has the two CLIP encoders the other way round.
  const TinyModel one, other;
  for (const char* const part : {"text_encoder", "tokenizer"}) {
    const fs::path first = other.path() / part, second = other.path() / (std::string(part) + "_2");
    fs::rename(first, other.path() / "aside");
    fs::rename(second, first);
    fs::rename(other.path() / "aside", second);
  }
  const TemporaryFolder loras, loras_of_other;
  write_lora(loras.path() / "ink.safetensors", one.path());
  write_lora(loras_of_other.path() / "ink.safetensors", other.path());
  const auto first = load(one.path(), loras.path()), second = load(other.path(), loras_of_other.path());
  EXPECT_EQ(ids_of(*first), ids_of(*second));
  GenerateRequest drawn = request;
  drawn.loras = {{"ink", 1}};
  for (const GenerateRequest& asked : {request, drawn}) {
    EXPECT_EQ(picture(*first, asked).pixels, alone(one.path(), asked, loras.path()));
    EXPECT_EQ(picture(*second, asked).pixels, alone(other.path(), asked, loras_of_other.path()));
  }
  EXPECT_NE(alone(one.path(), request), alone(other.path(), request));
  EXPECT_NE(alone(other.path(), request), alone(other.path(), drawn, loras_of_other.path()));
}

}  // namespace
}  // namespace diffused::pipelines
