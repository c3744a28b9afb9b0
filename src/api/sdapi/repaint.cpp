#include "api/sdapi/repaint.h"

#include <algorithm>

#include "image/blur.h"
#include "image/channels.h"
#include "image/resize.h"

namespace diffused::api {
namespace {

// Where half of the mask's edge is passed the new picture is shown in full, for there it was repainted; the
// passage lies outside, where the two differ by no more than what the autoencoder loses.
Image shown_by(Image mask) {
  for (std::uint8_t& pixel : mask.pixels) pixel = static_cast<std::uint8_t>(std::min(2 * pixel, 255));
  return mask;
}

// As A1111 reads a mask: where anything is transparent, what is drawn is the mask, whatever its colours; else
// what is light.
Image drawn_mask(Image mask, bool rounded) {
  if (!has_transparency(mask)) return to_grey(std::move(mask));
  mask = alpha_of(mask);
  if (rounded)
    for (std::uint8_t& pixel : mask.pixels) pixel = pixel > 128 ? 255 : 0;
  return mask;
}

}  // namespace

Repaint prepare_repaint(const SdRequest& request, Image picture, Image mask, int width, int height) {
  picture = to_rgb(on_paper(std::move(picture), request.paper));
  mask = resize_lanczos(drawn_mask(std::move(mask), request.mask_rounded), picture.width, picture.height);
  if (request.mask_inverted)
    for (std::uint8_t& pixel : mask.pixels) pixel = 255 - pixel;
  mask = blur_gaussian(mask, request.mask_blur);
  const std::optional<Box> masked = request.only_masked ? box_of_light(mask) : std::nullopt;
  Repaint repaint;
  if (masked) {
    repaint.place = grown(*masked, request.only_masked_padding, width, height, picture);
    repaint.picture = fit_lanczos(cut_out(picture, repaint.place), width, height, Fit::fill);
    repaint.mask = fit_lanczos(cut_out(mask, repaint.place), width, height, Fit::fill);
    repaint.whole = std::move(picture);
    repaint.shown = shown_by(std::move(mask));
  } else {
    repaint.place = {0, 0, width, height};
    repaint.picture = fit_lanczos(picture, width, height, request.fit);
    repaint.mask = fit_lanczos(mask, width, height, request.fit);
    repaint.whole = repaint.picture;
    repaint.shown = shown_by(repaint.mask);
  }
  return repaint;
}

Image put_back(const Repaint& repaint, const Image& made) {
  const Box& place = repaint.place;
  Image result = repaint.whole;
  const Image part = fit_lanczos(to_rgb(made), place.width, place.height, Fit::crop);
  put_in(result, blend(cut_out(result, place), part, cut_out(repaint.shown, place)), place.left, place.top);
  return result;
}

}  // namespace diffused::api
