// Which networks are one in memory, and when they go.
#include "pipelines/network_store.h"

#include <gtest/gtest.h>

#include "support/files.h"
#include "support/safetensors.h"

namespace diffused::pipelines {
namespace {

namespace fs = std::filesystem;
using weights::Checkpoint;

struct TinyConfig {
  int version = 1;
  bool operator==(const TinyConfig&) const = default;
};

int networks_built = 0, networks_there = 0;

struct TinyNetwork {
  TinyNetwork(const TinyConfig&, const weights::Scope& scope)
      : layer((scope / "layer").changeable_layer()),
        weight((scope / "layer").tensor("weight", {4, 3})),
        bias((scope / "layer").tensor("bias", {4})) {
    ++networks_built;
    ++networks_there;
  }
  ~TinyNetwork() { --networks_there; }
  TinyNetwork(const TinyNetwork&) = delete;

  std::string layer;
  at::Tensor weight, bias;
};

using Kind = NetworkKind<TinyNetwork, TinyConfig>;

class NetworkStoreTest : public ::testing::Test {
 protected:
  NetworkStoreTest() { networks_built = networks_there = 0; }

  fs::path path(const std::string& name) const { return folder.path() / (name + ".safetensors"); }
  void write(const std::string& name, const at::Tensor& weight, const at::Tensor& bias) const {
    write_file(path(name), test::safetensors_file({{"layer.weight", weight}, {"layer.bias", bias}}));
  }
  NetworkStore::Loaded<TinyNetwork> load(const std::string& name, const Kind& kind = {},
                                         const std::set<std::uint64_t>& taken = {}) {
    return store.load(kind, Checkpoint::open_file(path(name)).value(), taken, {});
  }

  TemporaryFolder folder;
  NetworkStore store;
  at::Tensor weight = at::randn({4, 3}), bias = at::randn({4});
};

TEST_F(NetworkStoreTest, EqualFilesAreOneNetworkHoweverTheyCameToBe) {
  write("one", weight, bias);
  fs::copy_file(path("one"), path("copy"));
  fs::create_hard_link(path("one"), path("hard_link"));
  fs::create_symlink(path("one"), path("symlink"));
  write_file(path("other_order"), test::safetensors_file({{"layer.bias", bias}, {"layer.weight", weight}}));
  const auto one = load("one");
  for (const char* const name : {"one", "copy", "hard_link", "symlink", "other_order"}) {
    const auto other = load(name);
    EXPECT_EQ(other.network, one.network) << name;
    EXPECT_EQ(other.facts.id, one.facts.id) << name;
    EXPECT_EQ(other.facts.use.bytes, 4u * 16) << name;
    EXPECT_EQ(other.facts.changeable.at("layer"), (std::vector<std::int64_t>{4, 3})) << name;
  }
  EXPECT_EQ(networks_built, 1);
}

TEST_F(NetworkStoreTest, OneByteMakesAnotherNetwork) {
  write("one", weight, bias);
  std::string bytes = read_file(path("one"));
  bytes.back() ^= 1;
  write_file(path("changed"), bytes);
  const auto one = load("one"), changed = load("changed");
  EXPECT_NE(one.network, changed.network);
  EXPECT_NE(one.facts.id, changed.facts.id);
  EXPECT_TRUE(one.network->bias.equal(bias));
  EXPECT_FALSE(changed.network->bias.equal(bias));
}

TEST_F(NetworkStoreTest, AnotherConfigOrDtypeMakesAnotherNetwork) {
  write("one", weight, bias);
  const auto one = load("one");
  EXPECT_NE(load("one", {.config = {.version = 2}}).network, one.network);
  EXPECT_NE(load("one", {.config = {}, .dtype = at::kBFloat16}).network, one.network);
  EXPECT_EQ(load("one").network, one.network);
}

TEST_F(NetworkStoreTest, TheLastModelFreesItAndItComesBackUnderTheSameId) {
  write("one", weight, bias);
  fs::copy_file(path("one"), path("copy"));
  auto one = load("one"), copy = load("copy");
  one.network.reset();
  EXPECT_EQ(networks_there, 1);
  EXPECT_TRUE(copy.network->weight.equal(weight));
  copy.network.reset();
  EXPECT_EQ(networks_there, 0);
  // The copy of what is gone is known to be the same.
  EXPECT_EQ(load("copy").facts.id, one.facts.id);
  EXPECT_EQ(networks_built, 2);
}

TEST_F(NetworkStoreTest, AFileThatHasBeenReplacedIsReadAgain) {
  write("one", weight, bias);
  const auto one = load("one");
  write("new", at::randn({4, 3}), bias);
  fs::rename(path("new"), path("one"));
  const auto replaced = load("one");
  EXPECT_NE(replaced.network, one.network);
  // What is in memory is the old one still, whose file is gone: it cannot be compared, so it is not shared.
  write("old", weight, bias);
  EXPECT_NE(load("old").network, one.network);
}

TEST_F(NetworkStoreTest, AFileThatIsWrittenToIsReadAgain) {
  write("one", weight, bias);
  fs::last_write_time(path("one"), fs::file_time_type::clock::now() - std::chrono::hours(1));
  const auto one = load("one");
  write("one", weight * 2, bias);
  write("copy", weight * 2, bias);
  const auto now = load("one");
  EXPECT_NE(now.facts.id, one.facts.id);
  EXPECT_TRUE(now.network->weight.equal(weight * 2));
  EXPECT_EQ(load("copy").network, now.network);
}

TEST_F(NetworkStoreTest, AModelWithTwoEqualComponentsHasTwoNetworks) {
  write("one", weight, bias);
  const auto one = load("one"), two = load("one", {}, {one.facts.id});
  EXPECT_NE(one.network, two.network);
  EXPECT_NE(one.network->layer, two.network->layer);
  EXPECT_TRUE(one.network->layer.starts_with(one.facts.layer_prefix() + "."));
  // Another such model has the same two.
  EXPECT_EQ(load("one", {}, {one.facts.id}).network, two.network);
  EXPECT_EQ(networks_built, 2);
}

// As a checkpoint in one file, whose components are views of it.
TEST_F(NetworkStoreTest, AViewIsComparedByWhatItHandsOut) {
  write("one", weight, bias);
  write_file(
      path("joined"),
      test::safetensors_file({{"qk", at::cat({bias.view({4, 1}).repeat({1, 3}), weight})}, {"bias", bias}}));
  const auto joined = Checkpoint::open_file(path("joined")).value();
  const auto view = [&](weights::Form form) {
    return joined->view({{.name = "layer.weight", .source = "qk", .form = form, .first_row = 4, .rows = 4},
                         {.name = "layer.bias", .source = "bias"}});
  };
  const auto one = load("one"), same = store.load(Kind{}, view(weights::Form::as_is), {}, {}),
             swapped = store.load(Kind{}, view(weights::Form::halves_swapped), {}, {});
  EXPECT_EQ(same.network, one.network);
  EXPECT_NE(swapped.network, one.network);
}

TEST_F(NetworkStoreTest, WhatDoesNotFitIsRefusedEachTime) {
  write_file(path("less"), test::safetensors_file({{"layer.weight", weight}}));
  EXPECT_THROW(load("less"), weights::LoadError);
  EXPECT_THROW(load("less"), weights::LoadError);
  EXPECT_EQ(networks_there, 0);
}

}  // namespace
}  // namespace diffused::pipelines
