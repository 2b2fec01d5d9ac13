// The video of a result with its charts: one time for the pictures, the boxes and the cursors.
import { Strip, Timeline, svg } from "./charts.js";
import { paint, part, percent, quiet, setText, words } from "./parts.js";

const JUST_AFTER_S = 0.001, MIN_SHARE = 0.02;
const OWN = "This is your own copy, played in this browser. Click the chart to go to a moment.";
const ANNOTATED = "This browser cannot play your file, so the annotated video is shown. Click the chart to go to a moment.";
const CHARTS = "The video is not shown: this browser cannot play the file, or the page was reloaded. The charts are complete.";

export class Film {
  // address: the browser's own copy, "" if there is none. annotated: that of the annotated video, or "".
  constructor(digest, address, annotated) {
    this.digest = digest;
    this.annotated = annotated;
    this.player = part("film");
    this.time = 0;
    this.person = digest.people.toSorted((one, other) => other.seen_s - one.seen_s)[0];
    const seek = (time) => this.seek(time);
    this.timeline = new Timeline(part("timeline"), digest, seek);
    this.strip = new Strip(part("strip"), digest, seek);
    part("moment").max = String(digest.duration_s);
    part("moment").oninput = () => seek(Number(part("moment").value));
    part("film-faces").setAttribute("viewBox", `0 0 ${digest.width} ${digest.height}`);
    part("film-faces").replaceChildren();
    this.load(address);
    this.showFaces(new Map());
    this.draw();
  }

  close() {
    if (this.made) URL.revokeObjectURL(this.made);
    for (const name of ["onloadeddata", "onerror", "onclick", "onseeked", "ontimeupdate"]) this.player[name] = null;
    this.player.removeAttribute("src");
    this.closed = true;
  }

  load(address) {
    const { player } = this;
    part("player").hidden = true;
    this.tell(address ? "" : CHARTS);
    player.onerror = () => this.loadAnnotated();
    player.onloadeddata = () => this.loaded();
    player.onclick = () => (player.paused ? player.play() : player.pause());
    player.onseeked = player.ontimeupdate = () => { if (!player.requestVideoFrameCallback) this.show(player.currentTime); };
    player.controls = true;
    if (address) player.src = address;
    else this.loadAnnotated();
  }

  // As a whole, so that the player can go to any moment.
  async loadAnnotated() {
    this.tell(CHARTS);
    if (this.made || !this.annotated) return;
    const answer = await fetch(this.annotated);
    if (!answer.ok || this.closed) return;
    this.made = URL.createObjectURL(await answer.blob());
    this.player.src = this.made;
  }

  loaded() {
    part("player").hidden = false;
    part("film-faces").toggleAttribute("hidden", Boolean(this.made));
    this.tell(this.made ? ANNOTATED : OWN);
    this.seek(this.time);
    this.follow();
  }

  // Every picture is shown together with its own time, as the browser reports it.
  follow() {
    if (!this.player.requestVideoFrameCallback || this.following) return;
    this.following = true;
    const next = (_, picture) => {
      if (this.closed) return;
      this.show(picture.mediaTime);
      if (!this.player.paused) part("moment").value = String(picture.mediaTime);
      this.player.requestVideoFrameCallback(next);
    };
    this.player.requestVideoFrameCallback(next);
  }

  seek(time) {
    part("moment").value = String(time);
    this.show(time);
    if (!part("player").hidden) this.player.currentTime = Math.min(time + JUST_AFTER_S, this.player.duration || time);
  }

  show(time) {
    this.time = time;
    markFaces(part("film-faces"), this.digest, facesAt(this.digest, time));
    this.strip.moveCursor(time);
    if (!this.person) return;
    const text = this.timeline.moveCursor(time);
    setText(part("moment-text"), text);
    part("moment").setAttribute("aria-valuetext", text);
  }

  draw() {
    if (this.person) {
      this.timeline.draw(this.person);
      this.fillLegend();
    }
    this.strip.draw();
    this.show(this.time);
  }

  tell(text) {
    part("player-note").hidden = !text;
    setText(part("player-note"), text);
  }

  // One button a person, with the face where it was asked for.
  showFaces(faces) {
    part("persons").replaceChildren(...this.digest.people.map((one) => {
      const pill = document.createElement("button"), name = document.createElement("span");
      pill.type = "button";
      name.textContent = `Person ${one.track}`;
      if (faces.has(one.track)) pill.append(faces.get(one.track));
      pill.append(name);
      pill.setAttribute("aria-pressed", String(one === this.person));
      pill.addEventListener("click", () => {
        this.person = one;
        for (const other of part("persons").children) other.setAttribute("aria-pressed", String(other === pill));
        this.draw();
      });
      return pill;
    }));
  }

  fillLegend() {
    const { labels } = this.digest;
    const used = labels.filter((_, place) => this.person.points.some((point) => (point.probs[place] ?? 0) >= MIN_SHARE));
    part("legend").replaceChildren(...used.map((label) => {
      const item = document.createElement("li");
      paint(item, label);
      item.textContent = words(label);
      return item;
    }));
  }
}

// The people in view at a time of the video, with their boxes.
export function facesAt(digest, time) {
  const found = digest.people.map((person) => ({ person, point: boxAt(person.boxes, time, person.seen_s / person.boxes.length) }));
  return found.filter(({ point }) => point);
}

// A box between its two neighbours, or one that is at most a step away.
function boxAt(boxes, time, step) {
  let low = 0, high = boxes.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (boxes[middle].t < time) low = middle + 1;
    else high = middle;
  }
  const near = [boxes[low - 1], boxes[low]].filter((point) => point && Math.abs(point.t - time) <= step + 0.001);
  if (near.length < 2) return near[0];
  const [one, other] = near, share = (time - one.t) / (other.t - one.t);
  return { ...(share < 0.5 ? one : other), box: one.box.map((value, side) => value + share * (other.box[side] - value)) };
}

// Draws boxes and labels into an SVG of the size of the picture.
export function markFaces(over, digest, faces) {
  const size = Math.max(digest.width, digest.height) / 34;
  over.replaceChildren(...faces.flatMap(({ person, point }) => {
    const [x, y, width, height] = point.box, frame = svg("rect", { class: "face", x, y, width, height, rx: size / 3 });
    paint(frame, point.label);
    const label = svg("text", { class: "face-name", x: x + width / 2, y: Math.max(size * 1.1, y - size / 2), "text-anchor": "middle", "font-size": size }, `Person ${person.track}: ${words(point.label || "in view")}${quiet(point.label) || !point.label ? "" : ` ${percent(point.score)}`}`);
    return [frame, label];
  }));
}
