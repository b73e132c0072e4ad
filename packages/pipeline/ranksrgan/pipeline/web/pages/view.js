// Views of images of one size that share a camera: who zooms or moves one, moves them all.

const CLOSEST = 32; // screen pixels to a pixel of the image
const STEP = 1.25;

// Where all views look. `scale` is CSS pixels to a pixel of the image, null as large as fits.
// `x` and `y` are the centre, in parts of the image.
export class Camera extends EventTarget {
  views = new Set();
  scale = null;
  x = 0.5;
  y = 0.5;

  look(scale, x = this.x, y = this.y) {
    const within = (value) => Math.min(1, Math.max(0, value));
    [this.scale, this.x, this.y] = [scale, within(x), within(y)];
    this.dispatchEvent(new Event("move"));
  }

  fit() {
    this.look(null, 0.5, 0.5);
  }

  // The scale at which the image fits the largest view that shows one.
  get fitting() {
    const showing = [...this.views].filter((view) => view.showing);
    return showing.length ? Math.max(...showing.map((view) => view.fitting)) : 1;
  }
}

export class View {
  #layers = new Map();
  #pointers = new Map();
  #gone = new AbortController();

  // `frame` is the element that shows the images: it takes the keyboard, the pointer and the wheel.
  constructor(frame, camera) {
    this.frame = frame;
    this.camera = camera;
    this.width = this.height = 1;
    this.showing = false;
    camera.views.add(this);
    const { signal } = this.#gone;
    camera.addEventListener("move", () => this.draw(), { signal });
    const resizes = new ResizeObserver(() => this.draw());
    resizes.observe(frame);
    signal.addEventListener("abort", () => resizes.disconnect());
    frame.classList.add("view");
    frame.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    frame.addEventListener("pointerdown", (event) => this.#press(event));
    frame.addEventListener("pointermove", (event) => this.#drag(event));
    for (const end of ["pointerup", "pointercancel"]) {
      frame.addEventListener(end, (event) => this.#pointers.delete(event.pointerId));
    }
    frame.addEventListener("dblclick", (event) => this.#toggle(event));
    frame.addEventListener("keydown", (event) => {
      if (this.key(event)) event.preventDefault();
    });
  }

  // Show an image in a layer, an element within the frame. All are shown `width` x `height` large,
  // whatever their own size. Resolves when it can be seen.
  async show(layer, url, alt, width, height) {
    const image = new Image();
    image.alt = alt;
    image.draggable = false;
    image.src = url;
    this.#layers.set(layer, image);
    await image.decode();
    if (this.#layers.get(layer) !== image) return; // another one came after
    [this.width, this.height] = [width, height];
    this.showing = true;
    layer.replaceChildren(image);
    this.camera.dispatchEvent(new Event("move")); // what fits may have changed
  }

  clear() {
    this.showing = false;
    for (const layer of this.#layers.keys()) layer.replaceChildren();
    this.#layers.clear();
  }

  // For a view whose frame goes while its camera stays.
  dispose() {
    this.clear();
    this.camera.views.delete(this);
    this.#gone.abort();
  }

  get fitting() {
    const { clientWidth, clientHeight } = this.frame;
    return Math.min(clientWidth / this.width, clientHeight / this.height) || 1;
  }

  get scale() {
    return this.camera.scale ?? this.fitting;
  }

  draw() {
    const scale = this.scale;
    const { clientWidth, clientHeight } = this.frame;
    this.frame.classList.toggle("moved", this.camera.scale !== null);
    // On whole pixels of the screen: between them, every pixel would be a mixture.
    const box = this.frame.getBoundingClientRect();
    const whole = (origin, at) => Math.round((origin + at) * devicePixelRatio) / devicePixelRatio - origin;
    const left = whole(box.left + this.frame.clientLeft, place(clientWidth, this.width * scale, this.camera.x));
    const top = whole(box.top + this.frame.clientTop, place(clientHeight, this.height * scale, this.camera.y));
    for (const image of this.#layers.values()) {
      if (!image.naturalWidth) continue;
      const [across, down] = [
        (scale * this.width) / image.naturalWidth,
        (scale * this.height) / image.naturalHeight,
      ];
      image.style.transform = `matrix(${across}, 0, 0, ${down}, ${left}, ${top})`;
      image.classList.toggle("pixels", across * devicePixelRatio >= 2);
    }
  }

  // Zoom by a factor, keeping what is at a point of the frame (its middle by default).
  // All views then have one scale: that of the largest goes on, else it would shrink.
  zoom(factor, point = null) {
    this.#zoomTo((this.camera.scale ?? this.camera.fitting) * factor, point);
  }

  #zoomTo(wanted, point) {
    const { fitting } = this.camera;
    const farthest = Math.min(fitting, 1 / devicePixelRatio);
    const scale = Math.min(Math.max(CLOSEST, fitting), Math.max(farthest, wanted));
    if (scale === fitting) {
      this.camera.fit();
      return;
    }
    const { clientWidth, clientHeight } = this.frame;
    const [px, py] = point ?? [clientWidth / 2, clientHeight / 2];
    const seen = (extent, size, centre, at) =>
      (at - place(extent, size * this.scale, centre)) / (size * this.scale);
    const x = seen(clientWidth, this.width, this.camera.x, px);
    const y = seen(clientHeight, this.height, this.camera.y, py);
    this.#look(
      scale,
      x + (clientWidth / 2 - px) / (this.width * scale),
      y + (clientHeight / 2 - py) / (this.height * scale),
    );
  }

  // One pixel of the image on one of the screen.
  actualSize(point = null) {
    this.#zoomTo(1 / devicePixelRatio, point);
  }

  move(right, down) {
    const { camera, scale } = this;
    if (camera.scale === null) return;
    const { clientWidth, clientHeight } = this.frame;
    this.#look(
      scale,
      visible(clientWidth, this.width * scale, camera.x) + right / (this.width * scale),
      visible(clientHeight, this.height * scale, camera.y) + down / (this.height * scale),
    );
  }

  // No farther than this view shows: way beyond its edges would be to go back first.
  #look(scale, x, y) {
    const { clientWidth, clientHeight } = this.frame;
    this.camera.look(
      scale,
      visible(clientWidth, this.width * scale, x),
      visible(clientHeight, this.height * scale, y),
    );
  }

  // What a key does; false for another key.
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    const reach = this.frame.clientWidth / 8;
    const actions = {
      ArrowLeft: () => this.move(-reach, 0),
      ArrowRight: () => this.move(reach, 0),
      ArrowUp: () => this.move(0, -reach),
      ArrowDown: () => this.move(0, reach),
      "+": () => this.zoom(STEP),
      "=": () => this.zoom(STEP),
      "-": () => this.zoom(1 / STEP),
      0: () => this.camera.fit(),
      1: () => this.actualSize(),
    };
    actions[event.key]?.();
    return event.key in actions;
  }

  // Where the page scrolls, the wheel is ours only for a view in focus.
  #wheel(event) {
    if (this.frame.tabIndex >= 0 && document.activeElement !== this.frame && !event.ctrlKey) return;
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY / (event.ctrlKey ? 100 : 400)), this.#at(event));
  }

  #toggle(event) {
    if (this.camera.scale === null) this.actualSize(this.#at(event));
    else this.camera.fit();
  }

  #press(event) {
    if (event.button !== 0 || event.target.closest("button")) return;
    this.frame.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, this.#at(event));
  }

  #drag(event) {
    const before = this.#pointers.get(event.pointerId);
    if (before === undefined) return;
    const now = this.#at(event);
    const others = [...this.#pointers].filter(([id]) => id !== event.pointerId);
    this.#pointers.set(event.pointerId, now);
    if (others.length) {
      const other = others[0][1];
      const apart = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]);
      const middle = [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2];
      this.zoom(apart(now) / Math.max(1, apart(before)), middle);
    } else {
      this.move(before[0] - now[0], before[1] - now[1]);
    }
  }

  #at(event) {
    const box = this.frame.getBoundingClientRect();
    return [event.clientX - box.left - this.frame.clientLeft, event.clientY - box.top - this.frame.clientTop];
  }
}

// Where an image begins in a frame: no emptier than it must be.
function place(extent, size, centre) {
  if (size <= extent) return (extent - size) / 2;
  return extent / 2 - visible(extent, size, centre) * size;
}

// The centre that a frame shows: nothing beyond the edges of an image that is larger.
function visible(extent, size, centre) {
  if (size <= extent) return centre;
  const edge = extent / 2 / size;
  return Math.min(1 - edge, Math.max(edge, centre));
}

// Connect the buttons of a toolbar, `data-zoom` of each says which it is.
export function connectZoom(toolbar, view) {
  const actions = {
    in: () => view.zoom(STEP * STEP),
    out: () => view.zoom(1 / STEP / STEP),
    fit: () => view.camera.fit(),
    actual: () => view.actualSize(),
  };
  for (const button of toolbar.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", actions[button.dataset.zoom]);
  }
  const told = toolbar.querySelector("output");
  const tell = () => {
    told.textContent = `${Math.round(view.scale * devicePixelRatio * 100)} %`;
  };
  view.camera.addEventListener("move", tell);
  new ResizeObserver(tell).observe(view.frame);
}
