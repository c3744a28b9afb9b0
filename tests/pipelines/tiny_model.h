// The tiny model of tests/pipelines/data, copies of it to damage, and rows run to their end.
#pragma once

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "pipelines/catalog.h"
#include "support/files.h"
#include "support/source_folder.h"

namespace diffused::pipelines {

inline const std::filesystem::path kData = test::source_folder() / "tests/pipelines/data";

inline std::unique_ptr<Pipeline> load_tiny(const std::filesystem::path& folder = kData / "tiny_sd3",
                                           LoadOptions options = {.dtype = "fp32", .variant = ""}) {
  auto loaded = load_pipeline(folder, options);
  EXPECT_TRUE(loaded) << loaded.error().message;
  return std::move(loaded).value();
}

// A copy of a tiny model.
class TinyModel {
 public:
  explicit TinyModel(const char* name = "tiny_sd3") {
    std::filesystem::copy(kData / name, path(), std::filesystem::copy_options::recursive);
  }
  std::filesystem::path path() const { return folder_.path() / "model"; }

  // Changes a JSON file of the folder.
  void edit(const std::string& file, const std::function<void(boost::json::object&)>& change) {
    auto json = boost::json::parse(read_file(path() / file)).as_object();
    change(json);
    write_file(path() / file, boost::json::serialize(json));
  }
  // Why the folder cannot be loaded.
  Error refusal(const LoadOptions& options = {.dtype = "fp32", .variant = ""}) const {
    const auto loaded = load_pipeline(path(), options);
    EXPECT_FALSE(loaded);
    if (loaded) return {};
    EXPECT_EQ(loaded.error().message.find('\n'), std::string::npos) << loaded.error().message;
    return loaded.error();
  }

 private:
  TemporaryFolder folder_;
};

inline GenerateRequest request_of(const std::string& prompt, std::vector<std::uint64_t> seeds = {1}) {
  GenerateRequest request;
  request.prompt = prompt;
  request.width = request.height = 64;
  request.num_inference_steps = 4;
  request.guidance_scale = 5.0;
  request.seeds = std::move(seeds);
  return request;
}

// Stripes of every colour, of any size; or of greys.
inline std::shared_ptr<const Image> stripes(int width, int height, int channels) {
  auto image = std::make_shared<Image>(Image{width, height, channels, {}});
  for (int i = 0; i < width * height * channels; ++i)
    image->pixels.push_back(static_cast<std::uint8_t>(i * 7 + i / 13));
  return image;
}

// Makes the request an edit of a picture of this size.
inline void start_from_picture(GenerateRequest& request, int width, int height, bool with_mask = false) {
  request.init_image = stripes(width, height, 3);
  if (with_mask) request.mask = stripes(height, width, 1);
  request.strength = 0.7;
}

inline std::unique_ptr<Row> begin(Pipeline& pipeline, const GenerateRequest& request, std::size_t index = 0) {
  auto row = pipeline.begin(pipeline.resolve(request).value(), index);
  EXPECT_TRUE(row) << row.error().message;
  return std::move(row).value();
}

inline void run_unit(Pipeline& pipeline, Row& row) {
  Row* const rows[] = {&row};
  pipeline.run(rows);
}

// The rest of a row's units, one after the other, and its picture.
inline Image finish(Pipeline& pipeline, Row& row) {
  while (row.next().kind != UnitKind::done) run_unit(pipeline, row);
  return pipeline.take(row).value();
}

inline Image picture(Pipeline& pipeline, const GenerateRequest& request, std::size_t index = 0) {
  return finish(pipeline, *begin(pipeline, request, index));
}

}  // namespace diffused::pipelines
