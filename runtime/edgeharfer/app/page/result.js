// A finished analysis: figures, charts, the browser's copy of the video, downloads.
import { Timeline, drawStrip, svg } from "./charts.js";
import { fillBar, fillLines, fillList, guesses, paint, part, percent, quiet, setText, seconds, words } from "./parts.js";

const shown = (shares) => Object.entries(shares).filter(([, share]) => share > 0).sort((one, other) => other[1] - one[1]);
let address = "";

// Fills the page, and returns a function that redraws the charts for a new width.
export function showResult(job, digest, file, about) {
  const film = digest.kind === "video";
  setText(part("result-name"), file?.name ?? digest.name);
  setText(part("result-facts"), [film ? seconds(digest.duration_s) : "Picture", `${digest.width} × ${digest.height}`, film ? `${digest.samples} samples` : ""].filter(Boolean).join(" · "));
  for (const [id, name] of [["get-pdf", "report.pdf"], ["get-frames", "frames.csv"], ["get-actions", "actions.csv"]]) part(id).href = `api/jobs/${job.id}/${name}`;
  part("get-actions").hidden = !film;
  part("time-card").hidden = !film || !digest.people.length;
  part("actions-card").hidden = !film;
  part("photo-card").hidden = film || !digest.people.length;
  fillTiles(digest);
  fillShares(digest.group.shares);
  fillMessages(digest);
  fillTable(digest);
  setText(part("keeping"), `The upload has been deleted. This report will be deleted ${Math.round(about.limits.keep_s / 60)} minutes after the analysis.`);
  if (address) URL.revokeObjectURL(address);
  address = file ? URL.createObjectURL(file) : "";
  return film ? showFilm(digest) : showPhoto(digest);
}

function fillTiles(digest) {
  const { group } = digest, leader = shown(group.shares).find(([label]) => !quiet(label));
  const tiles = [
    ["People", String(digest.people_seen)],
    ["Face in view", percent(group.coverage)],
    ["Mostly", leader ? words(leader[0]) : "–"],
    ["Strength", group.intensity === null ? "–" : `${words(group.strength)}, ${percent(group.intensity)}`],
    ["Confidence", percent(group.confidence)],
  ];
  part("tiles").replaceChildren(...tiles.map(([name, value]) => {
    const tile = document.createElement("div"), head = document.createElement("p"), text = document.createElement("strong");
    head.textContent = name;
    text.textContent = value;
    tile.append(head, text);
    return tile;
  }));
}

function fillShares(shares) {
  const found = shown(shares);
  if (found.length) fillList(part("shares"), "bar", found, (item, entry) => fillBar(item, entry, entry === found[0]));
  else fillLines(part("shares"), ["No face was seen."]);
}

function fillMessages(digest) {
  const lines = digest.people.filter((person) => person.message).map((person) => `Person ${person.track}: ${person.message}`);
  fillLines(part("said"), lines);
  fillLines(part("guess"), guesses(digest.likely));
  part("guess-block").hidden = !digest.likely.length;
  part("said-card").hidden = !lines.length && !digest.likely.length;
}

function fillTable(digest) {
  const labels = [...digest.labels, "uncertain"], head = ["", "In view", "Strength", ...labels.map(words)];
  const rows = [["Everybody", percent(digest.group.coverage), strength(digest.group), ...labels.map((label) => percent(digest.group.shares[label] ?? 0))]];
  for (const person of digest.people) rows.push([`Person ${person.track}`, digest.kind === "video" ? seconds(person.seen_s) : "–", strength(person), ...labels.map((label) => percent(person.shares[label] ?? 0))]);
  const lines = [head, ...rows].map((cells, row) => {
    const line = document.createElement("tr");
    line.append(...cells.map((cell, column) => {
      const node = document.createElement(row && column ? "td" : "th");
      if (node.tagName === "TH") node.scope = row ? "row" : "col";
      node.textContent = cell;
      return node;
    }));
    return line;
  });
  const [top, body] = [document.createElement("thead"), document.createElement("tbody")];
  top.append(lines[0]);
  body.append(...lines.slice(1));
  part("table").replaceChildren(top, body);
}

const strength = (one) => one.intensity === null ? "–" : percent(one.intensity);

function showFilm(digest) {
  const timeline = new Timeline(part("timeline"), digest), moment = part("moment"), player = part("film");
  let person = digest.people.toSorted((one, other) => other.seen_s - one.seen_s)[0];
  const used = () => digest.labels.filter((label) => person.points.some((point) => (point.probs[digest.labels.indexOf(label)] ?? 0) >= 0.02));
  moment.max = String(digest.duration_s);
  moment.value = "0";
  const updateMoment = () => {
    const text = timeline.moveCursor(Number(moment.value));
    setText(part("moment-text"), text);
    moment.setAttribute("aria-valuetext", text);
  };
  const draw = () => {
    if (person) {
      timeline.draw(person);
      fillLegend(used());
      updateMoment();
    }
    drawStrip(part("strip"), digest);
  };
  part("persons").replaceChildren(...(digest.people.length > 1 ? digest.people : []).map((one) => {
    const pill = document.createElement("button");
    pill.type = "button";
    pill.textContent = String(one.track);
    pill.setAttribute("aria-label", `Person ${one.track}`);
    pill.setAttribute("aria-pressed", String(one === person));
    pill.addEventListener("click", () => {
      person = one;
      for (const other of part("persons").children) other.setAttribute("aria-pressed", String(other === pill));
      draw();
    });
    return pill;
  }));
  moment.oninput = () => {
    updateMoment();
    if (!part("player").hidden) player.currentTime = Number(moment.value);
  };
  part("player").hidden = true;
  player.onloadeddata = () => {
    part("player").hidden = false;
    player.currentTime = Number(moment.value);
  };
  player.ontimeupdate = () => {
    if (player.paused) return;
    moment.value = String(player.currentTime);
    updateMoment();
  };
  player.onclick = () => (player.paused ? player.play() : player.pause());
  if (address) player.src = address;
  else player.removeAttribute("src");
  player.controls = true;
  draw();
  return draw;
}

function fillLegend(labels) {
  part("legend").replaceChildren(...labels.map((label) => {
    const item = document.createElement("li");
    paint(item, label);
    item.textContent = words(label);
    return item;
  }));
}

// The browser's copy of the picture, with the faces marked.
function showPhoto(digest) {
  const faces = digest.people.map((person) => ({ person, point: person.points[0] }));
  const over = svg("svg", { viewBox: `0 0 ${digest.width} ${digest.height}`, role: "img", "aria-label": faces.map(({ person, point }) => `Person ${person.track}: ${words(point.label || "in view")}`).join(", ") });
  const size = Math.max(digest.width, digest.height) / 34;
  for (const { person, point } of faces) {
    const [x, y, width, height] = point.box, frame = svg("rect", { class: "face", x, y, width, height, rx: size / 3 });
    paint(frame, point.label);
    const label = svg("text", { class: "face-name", x: x + width / 2, y: Math.max(size * 1.1, y - size / 2), "text-anchor": "middle", "font-size": size }, `${person.track}  ${words(point.label || "in view")}${quiet(point.label) || !point.label ? "" : ` ${percent(point.score)}`}`);
    over.append(frame, label);
  }
  const picture = document.createElement("img");
  picture.alt = "";
  if (address) picture.src = address;
  part("photo").replaceChildren(...(address ? [picture] : []), over);
  return () => undefined;
}
