// A finished analysis: figures, charts, the browser's copy of the video, downloads.
import { svg } from "./charts.js";
import { cutFaces } from "./faces.js";
import { Film, markFaces } from "./film.js";
import { fillBar, fillLines, fillList, guesses, part, percent, quiet, setText, seconds, words } from "./parts.js";

const shown = (shares) => Object.entries(shares).filter(([, share]) => share > 0).sort((one, other) => other[1] - one[1]);
let address = "", shownFilm;

// Fills the page, and returns a function that redraws the charts for a new width.
export function showResult(job, digest, file, about) {
  const film = digest.kind === "video";
  setText(part("result-name"), file?.name ?? digest.name);
  setText(part("result-facts"), [film ? seconds(digest.duration_s) : "Picture", `${digest.width} × ${digest.height}`, film ? `${digest.samples} samples` : ""].filter(Boolean).join(" · "));
  for (const [id, name] of [["get-pdf", "report.pdf"], ["get-html", "report.html"], ["get-frames", "frames.csv"], ["get-actions", "actions.csv"], ["get-video", "annotated.mp4"]]) part(id).href = `api/jobs/${job.id}/${name}`;
  part("get-actions").hidden = !film;
  part("get-video").hidden = !digest.annotated;
  part("make-video").hidden = !film || digest.annotated || !file;
  part("time-card").hidden = !film || !digest.people.length;
  part("actions-card").hidden = !film;
  part("photo-card").hidden = film || !digest.people.length;
  fillTiles(digest);
  part("shares-card").hidden = !film && digest.people.length > 0;
  part("faces-card").hidden = film || !digest.people.length;
  fillShares(digest.group.shares);
  fillMessages(digest);
  fillTable(digest);
  setText(part("keeping"), `The upload has been deleted. This report will be deleted ${Math.round(about.limits.keep_s / 60)} minutes after the analysis.`);
  if (address) URL.revokeObjectURL(address);
  address = file ? URL.createObjectURL(file) : "";
  shownFilm?.close();
  if (!film) return showPhoto(digest);
  shownFilm = new Film(digest, address, digest.annotated ? part("get-video").href : "");
  offerFaces("show-faces", "faces-note", digest, (faces) => shownFilm.showFaces(faces));
  return () => shownFilm.draw();
}

// Forgets the browser's copy.
export function closeResult() {
  shownFilm?.close();
  if (address) URL.revokeObjectURL(address);
  shownFilm = undefined;
  address = "";
}

// The faces are cut out when they are asked for, in this browser.
function offerFaces(button, note, digest, show) {
  const toggle = part(button);
  const off = address ? "Faces are not shown unless you ask. They are cut out in this browser from your own copy, and neither sent nor stored."
    : "Faces can be shown while this page still has your copy of the file; it was lost when the page was reloaded.";
  toggle.disabled = !address;
  const tell = (on, text) => {
    toggle.setAttribute("aria-pressed", String(on));
    setText(toggle, on ? "Hide faces" : "Show faces");
    setText(part(note), text);
  };
  tell(false, off);
  show(new Map());
  toggle.onclick = async () => {
    if (toggle.getAttribute("aria-pressed") === "true") {
      show(new Map());
      tell(false, off);
      return;
    }
    toggle.disabled = true;
    try {
      show(await cutFaces(address, digest));
      tell(true, "Cut out in this browser from your own copy; neither sent nor stored.");
    } catch {
      tell(false, "This browser cannot play the file, so it cannot cut out the faces.");
    }
    toggle.disabled = false;
  };
}

function fillTiles(digest) {
  const { group } = digest, leader = shown(group.shares).find(([label]) => !quiet(label));
  const tiles = [
    ["People", String(digest.people_seen)],
    ...(digest.kind === "video" ? [["Face in view", percent(group.coverage)]] : []),
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
  const labels = [...digest.labels, "uncertain"], head = ["Person", "In view", "Strength", ...labels.map(words)];
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

// The browser's copy of the picture with the faces marked, and all emotions of each face.
function showPhoto(digest) {
  const faces = digest.people.map((person) => ({ person, point: person.points[0] }));
  const over = svg("svg", { viewBox: `0 0 ${digest.width} ${digest.height}`, role: "img", "aria-label": faces.map(({ person, point }) => `Person ${person.track}: ${words(point.label || "in view")}`).join(", ") });
  markFaces(over, digest, faces);
  const picture = document.createElement("img");
  picture.alt = "";
  if (address) picture.src = address;
  part("photo").replaceChildren(...(address ? [picture] : []), over);
  fillList(part("photo-people"), "person", faces, (item, { person, point }) => fillPerson(item, person.track, point, digest.labels));
  offerFaces("show-photo-faces", "photo-faces-note", digest, (cut) => {
    for (const item of part("photo-people").children) {
      item.querySelector("canvas")?.remove();
      const face = cut.get(Number(item.dataset.track));
      if (face) item.prepend(face);
    }
  });
  return () => undefined;
}

function fillPerson(item, track, point, labels) {
  const known = Boolean(point.label) && !quiet(point.label);
  item.dataset.track = track;
  setText(item.querySelector(".who"), `Person ${track}`);
  setText(item.querySelector(".chip"), point.intensity === null ? "" : `strength ${percent(point.intensity)}`);
  item.querySelector(".chip").hidden = point.intensity === null;
  setText(item.querySelector("strong"), words(point.label || "in view"));
  item.querySelector("strong").classList.toggle("quiet", !known);
  setText(item.querySelector(".score"), known ? percent(point.score) : "");
  const bars = point.probs.map((share, place) => [labels[place], share]);
  fillList(item.querySelector(".bars"), "bar", bars, (row, entry) => fillBar(row, entry, entry[0] === point.label));
}
