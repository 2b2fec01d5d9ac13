// Charts as SVG, drawn from the digest of a report; colours are set by classes and custom properties only.
import { minutes, paint, percent, quiet, seconds, words } from "./parts.js";

const SPACE = "http://www.w3.org/2000/svg";
const LEFT = 46, RIGHT = 10, TOP = 10, AREA = 190, GAP = 26, LINE = 54, FOOT = 24, LANE = 40;
const NICE = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800];

export function svg(name, attributes = {}, text = "") {
  const node = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  if (text) node.textContent = text;
  return node;
}

// Calls `seek` with the time at the pointer: when the chart is clicked, and while it is dragged over.
function seekable(chart, timeAt, seek) {
  const move = (event) => {
    const box = chart.getBoundingClientRect();
    seek(timeAt((event.clientX - box.left) * chart.viewBox.baseVal.width / box.width));
  };
  chart.classList.add("seekable");
  chart.addEventListener("pointerdown", (event) => { chart.setPointerCapture(event.pointerId); move(event); });
  chart.addEventListener("pointermove", (event) => { if (event.buttons) move(event); });
}

// Stacked emotion shares of one person over time, the strength below, and a cursor.
export class Timeline {
  constructor(holder, digest, seek) {
    this.holder = holder;
    this.seek = seek;
    this.digest = digest;
    this.end = Math.max(digest.duration_s, 0.1);
  }

  draw(person) {
    this.person = person;
    const width = Math.max(280, this.holder.clientWidth), height = TOP + AREA + GAP + LINE + FOOT;
    this.width = width;
    const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": this.summary() });
    chart.append(...this.grid(width, height), ...this.areas(), ...this.line(), this.axis(width, height));
    this.marks = ["mark-edge", "mark"].map((name) => svg("line", { class: name, y1: TOP, y2: TOP + AREA + GAP + LINE }));
    chart.append(...this.marks);
    seekable(chart, (x) => this.end * Math.min(1, Math.max(0, (x - LEFT) / (this.width - LEFT - RIGHT))), this.seek);
    this.holder.replaceChildren(chart);
  }

  x(time) { return LEFT + (this.width - LEFT - RIGHT) * Math.min(1, Math.max(0, time / this.end)); }

  summary() {
    const shares = Object.entries(this.person.shares).filter(([, share]) => share > 0).sort((one, other) => other[1] - one[1]);
    return `Person ${this.person.track}: ${shares.map(([label, share]) => `${words(label)} ${percent(share)}`).join(", ")}`;
  }

  grid(width) {
    const lines = [0, 0.5, 1].flatMap((share) => {
      const y = TOP + AREA * (1 - share);
      return [svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }), svg("text", { class: "tick", x: LEFT - 8, y: y + 4, "text-anchor": "end" }, percent(share))];
    });
    for (const share of [0, 1]) {
      const y = TOP + AREA + GAP + LINE * (1 - share);
      lines.push(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }));
      if (share) lines.push(svg("text", { class: "tick", x: LEFT - 8, y: y + 4, "text-anchor": "end" }, percent(share)));
    }
    lines.push(svg("text", { class: "tick", x: LEFT, y: TOP + AREA + GAP - 7 }, "Strength"));
    return lines;
  }

  // Groups of consecutive points; a gap means that the face was out of view.
  segments() {
    const gap = Math.max(2.1 * this.digest.step_s, 3 * this.end / 400), found = [];
    for (const point of this.person.points) {
      const last = found.at(-1)?.at(-1);
      if (last && point.t - last.t <= gap) found.at(-1).push(point);
      else found.push([point]);
    }
    return found;
  }

  areas() {
    const shapes = [];
    for (const segment of this.segments()) {
      // A sample stands for the time until the next one, so the last one is drawn twice.
      const rows = [...segment, segment.at(-1)];
      const times = [...segment.map((point) => point.t), Math.min(this.end, segment.at(-1).t + this.digest.step_s)];
      const along = (values) => values.map((value, i) => `${this.x(times[i]).toFixed(1)},${(TOP + AREA * (1 - value)).toFixed(1)}`);
      let base = rows.map(() => 0);
      this.digest.labels.forEach((label, place) => {
        const top = rows.map((point, i) => base[i] + (point.probs[place] ?? 0));
        const shape = svg("polygon", { class: "area", points: [...along(top), ...along(base).toReversed()].join(" "), "data-label": label });
        paint(shape, label);
        shapes.push(shape);
        base = top;
      });
    }
    return shapes;
  }

  line() {
    const bottom = TOP + AREA + GAP + LINE;
    return this.segments().filter((segment) => segment[0].intensity !== null).map((segment) => {
      const last = { ...segment.at(-1), t: Math.min(this.end, segment.at(-1).t + this.digest.step_s) };
      const points = [...segment, last].map((point) => `${this.x(point.t).toFixed(1)},${(bottom - LINE * point.intensity).toFixed(1)}`);
      return svg("polyline", { class: "strength", points: points.join(" ") });
    });
  }

  axis(width, height) {
    const group = svg("g"), room = (width - LEFT - RIGHT) / 70;
    const step = NICE.find((one) => this.end / one <= room) ?? 3600;
    for (let time = 0; time <= this.end + 1e-6; time += step) {
      const anchor = time === 0 ? "start" : time > this.end - step / 3 ? "end" : "middle";
      const text = step < 1 ? `${time.toFixed(1)} s` : this.end < 120 ? `${time} s` : minutes(time);
      group.append(svg("text", { class: "tick", x: this.x(time), y: height - 6, "text-anchor": anchor }, text));
    }
    return group;
  }

  // Moves the cursor, and returns a description of that moment.
  moveCursor(time) {
    for (const mark of this.marks) for (const end of ["x1", "x2"]) mark.setAttribute(end, this.x(time));
    const near = this.person.points.reduce((best, point) => Math.abs(point.t - time) < Math.abs(best.t - time) ? point : best);
    if (Math.abs(near.t - time) > Math.max(this.digest.step_s, this.end / 400) * 1.5) return `${seconds(time)}: not in view`;
    const strength = near.intensity === null ? "" : `, strength ${percent(near.intensity)}`;
    return `${seconds(time)}: ${words(near.label || "in view")}${near.label && !quiet(near.label) ? ` ${percent(near.score)}` : ""}${strength}`;
  }
}

// The actions over time: one lane per action, longest first, and the same cursor.
export class Strip {
  constructor(holder, digest, seek) {
    this.holder = holder;
    this.digest = digest;
    this.seek = seek;
    this.end = Math.max(digest.duration_s, 0.1);
    this.total = new Map();
    for (const one of digest.actions) this.total.set(one.label, (this.total.get(one.label) ?? 0) + one.end_s - one.start_s);
    this.known = [...this.total].filter(([label]) => !quiet(label)).sort((one, other) => other[1] - one[1]).slice(0, 6).map(([label]) => label);
  }

  draw() {
    if (!this.known.length) {
      const empty = document.createElement("p");
      empty.className = "soft";
      empty.textContent = this.digest.actions.length ? "No action was recognised." : "Action recognition is off, or the video is too short.";
      this.holder.replaceChildren(empty);
      return;
    }
    const width = this.width = Math.max(280, this.holder.clientWidth), height = this.known.length * LANE + 6;
    const lines = this.known.map((label) => `${words(label)} ${seconds(this.total.get(label))}`);
    const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": lines.join(", ") });
    this.known.forEach((label, row) => chart.append(...this.lane(label, row * LANE)));
    this.marks = ["mark-edge", "mark"].map((name) => svg("line", { class: name, y1: 0, y2: height }));
    chart.append(...this.marks);
    seekable(chart, (x) => this.end * Math.min(1, Math.max(0, x / width)), this.seek);
    this.holder.replaceChildren(chart);
  }

  lane(label, y) {
    const { width, end } = this;
    const parts = [
      svg("text", { class: "lane", x: 0, y: y + 13 }, words(label)),
      svg("text", { class: "tick", x: width, y: y + 13, "text-anchor": "end" }, seconds(this.total.get(label))),
      svg("rect", { class: "groove", x: 0, y: y + 20, width, height: 10, rx: 5 }),
    ];
    for (const one of this.digest.actions.filter((other) => other.label === label)) {
      parts.push(svg("rect", { class: "stretch", x: width * one.start_s / end, y: y + 20, width: Math.max(3, width * (one.end_s - one.start_s) / end), height: 10, rx: 5, "data-label": label }));
    }
    return parts;
  }

  moveCursor(time) {
    for (const mark of this.marks ?? []) for (const end of ["x1", "x2"]) mark.setAttribute(end, this.width * Math.min(1, time / this.end));
  }
}
