// Cuts the faces of a result out of the browser's own copy of the upload. Nothing is sent or stored.
const SIDE = 96, MARGIN = 0.25, PATIENCE_MS = 8000;

// Draws each person's face, at the time when it is seen best, into a canvas. Returns canvases by track number.
export async function cutFaces(address, digest) {
  const film = digest.kind === "video", from = film ? await openFilm(address) : await openPicture(address);
  const faces = new Map();
  for (const person of digest.people) {
    if (film) await seek(from, person.best.t);
    faces.set(person.track, cut(from, person, digest));
  }
  if (film) from.removeAttribute("src");
  return faces;
}

function cut(from, person, digest) {
  const canvas = document.createElement("canvas"), [x, y, width, height] = person.best.box;
  const scale = (from.videoWidth ?? from.naturalWidth) / digest.width, side = Math.max(width, height) * (1 + 2 * MARGIN);
  canvas.width = canvas.height = SIDE;
  canvas.className = "face-cut";
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Face of person ${person.track}`);
  const [left, top] = [x + (width - side) / 2, y + (height - side) / 2].map((value) => value * scale);
  canvas.getContext("2d").drawImage(from, left, top, side * scale, side * scale, 0, 0, SIDE, SIDE);
  return canvas;
}

function openFilm(address) {
  const film = document.createElement("video");
  film.muted = film.playsInline = true;
  film.preload = "auto";
  film.src = address;
  return happened(film, "loadeddata");
}

async function openPicture(address) {
  const picture = new Image();
  picture.src = address;
  await picture.decode();
  return picture;
}

function seek(film, time) {
  film.currentTime = time + 0.001;
  return happened(film, "seeked");
}

function happened(film, event) {
  return new Promise((done, fail) => {
    film.addEventListener(event, () => done(film), { once: true });
    film.addEventListener("error", () => fail(new Error("not playable")), { once: true });
    setTimeout(() => fail(new Error("too slow")), PATIENCE_MS);
  });
}
