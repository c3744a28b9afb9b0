// A mask that is painted over a picture: white is repainted. What was done is a list of operations, so that all of it can
// be taken back. Coordinates are the picture's pixels.

export class Mask {
  constructor(width, height) {
    Object.assign(this, { width, height, operations: [], undone: [] });
    this.canvas = Object.assign(document.createElement("canvas"), { width, height });
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
  }

  // {kind: "stroke", erase, size, points} | {kind: "rectangle", erase, x, y, width, height} | {kind: "invert"} | {kind: "clear"}
  add(operation) {
    this.operations.push(operation);
    this.undone = [];
    this.draw(operation);
  }

  // A stroke grows while the pointer moves; only its newest piece is drawn.
  extend(point) {
    const { points, ...stroke } = this.operations.at(-1);
    points.push(point);
    this.draw({ ...stroke, points: points.slice(-2) });
  }

  // A rectangle that is still being drawn.
  resize(rectangle) {
    this.operations[this.operations.length - 1] = rectangle;
    this.redraw();
  }

  undo() {
    if (this.operations.length) this.undone.push(this.operations.pop());
    this.redraw();
  }

  redo() {
    const operation = this.undone.pop();
    if (!operation) return;
    this.operations.push(operation);
    this.draw(operation);
  }

  redraw() {
    this.context.clearRect(0, 0, this.width, this.height);
    for (const operation of this.operations) this.draw(operation);
  }

  draw(operation) {
    const { context } = this;
    context.globalCompositeOperation = operation.erase ? "destination-out" : "source-over";
    context.fillStyle = context.strokeStyle = "#fff";
    if (operation.kind === "stroke") {
      Object.assign(context, { lineWidth: operation.size, lineCap: "round", lineJoin: "round" });
      const [first, ...rest] = operation.points;
      context.beginPath();
      context.moveTo(first.x, first.y);
      for (const { x, y } of rest) context.lineTo(x, y);
      context.stroke();
      if (rest.length) return;
      context.arc(first.x, first.y, operation.size / 2, 0, 2 * Math.PI);  // a line of one point is none
      context.fill();
    } else if (operation.kind === "rectangle") {
      context.fillRect(operation.x, operation.y, operation.width, operation.height);
    } else if (operation.kind === "clear") {
      context.clearRect(0, 0, this.width, this.height);
    } else if (operation.kind === "invert") {
      context.globalCompositeOperation = "source-out";
      context.fillRect(0, 0, this.width, this.height);
    }
  }

  isEmpty() {
    const { data } = this.context.getImageData(0, 0, this.width, this.height);
    for (let i = 3; i < data.length; i += 4) if (data[i]) return false;
    return true;
  }

  // A PNG of the picture's size, white on black, its edge softened over `feather` pixels.
  toBlob(feather) {
    const out = Object.assign(document.createElement("canvas"), { width: this.width, height: this.height });
    const context = out.getContext("2d");
    context.fillRect(0, 0, this.width, this.height);
    if (feather > 0) context.filter = `blur(${feather / 2}px)`;
    context.drawImage(this.canvas, 0, 0);
    return new Promise((resolve) => out.toBlob(resolve, "image/png"));
  }
}
