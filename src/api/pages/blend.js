// What a mask keeps stays as it was: the model repaints where the mask is half light or more, and what it made of the rest,
// which has been through its autoencoder, is replaced by the picture itself. In the mask's soft edge one passes into the other.
import { copyText } from "./png_text.js";

const canvasOf = (width, height) => new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });

// How far the new picture is shown, in place of the mask's light: in full where it was repainted.
async function shown(mask, width, height) {
  const context = canvasOf(width, height);
  context.drawImage(await createImageBitmap(mask), 0, 0, width, height);
  const image = context.getImageData(0, 0, width, height);
  for (let i = 0; i < image.data.length; i += 4) image.data[i + 3] = Math.min(255, 2 * image.data[i]);
  context.putImageData(image, 0, 0);
  return context.canvas;
}

// The made picture with what the mask keeps of the old one. A PNG keeps the text that it came with.
export async function blend(old, mask, made) {
  const bitmap = await createImageBitmap(made);
  const { width, height } = bitmap;
  const fresh = canvasOf(width, height);
  fresh.drawImage(bitmap, 0, 0);
  fresh.globalCompositeOperation = "destination-in";
  fresh.drawImage(await shown(mask, width, height), 0, 0);
  const whole = canvasOf(width, height);
  whole.imageSmoothingQuality = "high";
  whole.drawImage(await createImageBitmap(old), 0, 0, width, height);
  whole.drawImage(fresh.canvas, 0, 0);
  const blob = await whole.canvas.convertToBlob({ type: made.type, quality: 0.95 });
  return made.type === "image/png" ? copyText(made, blob) : blob;
}
