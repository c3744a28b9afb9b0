#include "weights/renaming.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/files.h"
#include "support/load_error.h"
#include "support/safetensors.h"
#include "weights/scope.h"

namespace diffused::weights {
namespace {

using test::load_error;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RenamingTest : public ::testing::Test {
 protected:
  std::shared_ptr<Checkpoint> open(const test::NamedTensors& tensors) const {
    write_file(path(), test::safetensors_file(tensors));
    return Checkpoint::open_file(path()).value();
  }
  std::string open_error(const test::NamedTensors& tensors) const {
    write_file(path(), test::safetensors_file(tensors));
    const auto opened = Checkpoint::open_file(path());
    return opened ? "no error" : opened.error().message;
  }
  std::filesystem::path path() const { return folder_.path() / "file.safetensors"; }

  std::set<std::string> taken_;

 private:
  TemporaryFolder folder_;
};

at::Tensor read(Checkpoint& checkpoint, const std::string& name, at::IntArrayRef shape) {
  return checkpoint.tensor(name, shape, at::kFloat, at::kCPU);
}

TEST_F(RenamingTest, MakesEveryForm) {
  const at::Tensor matrix = at::arange(8, at::kFloat).view({4, 2});
  Renaming names(open({{"net.a.weight", matrix},
                       {"net.a.bias", at::arange(4, at::kFloat)},
                       {"net.conv.weight", matrix.view({4, 2, 1, 1})},
                       {"net.list.0.x", matrix},
                       {"net.list.1.x", matrix},
                       {"other", matrix}}),
                 "net.", taken_);
  EXPECT_EQ(names.count("list"), 2);
  EXPECT_EQ(names.size("a.weight", 2, 1), 2);
  EXPECT_EQ(names.rank("conv.weight"), 4u);
  EXPECT_EQ(names.rank("absent"), 0u);
  names.layer("a", "swapped", Form::halves_swapped);
  names.layer("conv", "matrix", Form::matrix);
  names.tensor("a.weight", "turned", Form::transposed);
  names.tensor("a.weight", "ones", Form::unit_matrix);
  names.split("a.weight", {"top", "rest"}, {1, 3});
  names.all_under("list.", "blocks.");
  names.layer("absent", "nothing");
  const auto view = names.view();
  EXPECT_TRUE(read(*view, "swapped.weight", {4, 2}).equal(matrix.roll(2, 0)));
  EXPECT_TRUE(read(*view, "swapped.bias", {4}).equal(at::arange(4, at::kFloat).roll(2, 0)));
  EXPECT_TRUE(read(*view, "matrix.weight", {4, 2}).equal(matrix));
  EXPECT_TRUE(read(*view, "turned", {2, 4}).equal(matrix.t()));
  EXPECT_TRUE(read(*view, "ones", {2, 2}).equal(at::eye(2)));
  EXPECT_TRUE(read(*view, "top", {1, 2}).equal(matrix.narrow(0, 0, 1)));
  EXPECT_TRUE(read(*view, "rest", {3, 2}).equal(matrix.narrow(0, 1, 3)));
  EXPECT_TRUE(read(*view, "blocks.0.x", {4, 2}).equal(matrix));
  EXPECT_TRUE(read(*view, "blocks.1.x", {4, 2}).equal(matrix));
  EXPECT_FALSE(view->contains_under("nothing"));
  EXPECT_TRUE(view->unused().empty());
  names.leave_out("a.");
  EXPECT_THAT(taken_,
              ElementsAre("net.a.bias", "net.a.weight", "net.conv.weight", "net.list.0.x", "net.list.1.x"));
}

TEST_F(RenamingTest, NamesTheFilesOwnTensorWhenAShapeIsWrong) {
  Renaming names(open({{"old.weight", at::ones({4, 2})}}), "", taken_);
  names.layer("old", "new");
  const auto view = names.view();
  const std::string message = load_error([&] { read(*view, "new.weight", {4, 3}); });
  EXPECT_THAT(message, HasSubstr("file.safetensors: tensor 'old.weight' ('new.weight') has shape [4, 2]"));
  EXPECT_THAT(load_error([&] {
                names.split("old.weight", {"a", "b", "c"});
              }),
              HasSubstr("does not split into 3"));
  EXPECT_THAT(load_error([&] {
                names.split("old.weight", {"a", "b"}, {5, -1});
              }),
              HasSubstr("does not split"));
  EXPECT_THAT(load_error([&] { names.tensor("old.weight", "a", Form::matrix); }), HasSubstr("no error"));
  EXPECT_THAT(load_error([&] { names.size("old.weight", 4, 0); }), HasSubstr("but 4 sizes are expected"));
}

TEST_F(RenamingTest, WeightsOf8BitsHaveTheirScale) {
  const at::Tensor values = at::tensor({1.0f, -2.0f, 0.5f, 4.0f}).view({2, 2});
  const auto file = open({{"a.weight", values.to(at::kFloat8_e4m3fn)},
                          {"a.scale_weight", at::tensor({0.25f})},
                          {"a.scale_input", at::tensor({3.0f})},
                          {"b.weight", values.to(at::kFloat8_e4m3fn)},
                          {"b.weight_scale", at::tensor({2.0f, 8.0f}).view({2, 1})},
                          {"c.weight", values.to(at::kFloat8_e4m3fn)},
                          {"scaled_fp8", at::zeros({2}).to(at::kFloat8_e4m3fn)}});
  EXPECT_EQ(file->list().size(), 3u);
  EXPECT_TRUE(read(*file, "a.weight", {2, 2}).equal(values / 4));
  EXPECT_TRUE(read(*file, "b.weight", {2, 2}).equal(values * at::tensor({2.0f, 8.0f}).view({2, 1})));
  EXPECT_TRUE(read(*file, "c.weight", {2, 2}).equal(values));
  Renaming names(file, "", taken_);
  names.split("b.weight", {"b.0", "b.1"});
  EXPECT_TRUE(read(*names.view(), "b.1", {1, 2}).equal(values.narrow(0, 1, 1) * 8));
}

TEST_F(RenamingTest, RefusesScalesThatFitNothing) {
  const at::Tensor weight = at::ones({2, 2}).to(at::kFloat8_e4m3fn);
  EXPECT_THAT(open_error({{"a.weight", weight}, {"a.weight_scale", at::ones({3})}}),
              HasSubstr("file.safetensors: tensor 'a.weight_scale' is not one float32 scale"));
  EXPECT_THAT(open_error({{"a.weight", weight}, {"a.weight_scale", at::ones({2}, at::kHalf)}}),
              HasSubstr("is not one float32 scale"));
}

}  // namespace
}  // namespace diffused::weights
