// The view Watch: polls the newest picture and state, one request at a time.
import { CameraSender, cameraAllowed, hasCamera } from "./camera.js";
import { LABEL_BACKGROUND, announce, ask, fillBar, fillLines, fillList, guesses, order, paint, part, percent, quiet, sentence, setText, seconds, words } from "./parts.js";

const RETRY_MS = 1500, PATIENCE_MS = 12000, IDLE_S = 2, OTHER = "other", BROWSER = "browser", FEW = 2;
const NO_CAMERA = "Browsers allow camera access only on pages of this machine (http://localhost) or over https. Open the app on the machine that runs it, or through a proxy with https.";
const TROUBLES = {
  lost: "Source lost", backoff: "Source lost, reconnecting", connecting: "Connecting to the source",
  stalled: "No picture from the source", frozen: "The picture is frozen",
};

export class Live {
  constructor(about) {
    this.about = about;
    this.viewer = crypto.getRandomValues(new Uint32Array(3)).join("-");
    this.watching = false;
    this.turn = 0;
    this.number = -1;
    this.camera = new CameraSender((text) => this.complain(text));
    part("source-form").addEventListener("submit", (event) => { event.preventDefault(); this.start(); });
    part("stop").addEventListener("click", () => this.stop());
    part("source").addEventListener("change", () => this.sourceChanged());
    this.loadSources();
  }

  async loadSources() {
    const found = await ask("api/sources"), camera = await hasCamera();
    const options = found.sources.map((one) => new Option(one.kind === "camera" ? `Camera: ${one.name}` : one.name, one.value));
    if (found.free) options.push(new Option("File or stream …", OTHER));
    const groups = [["In this browser", [new Option("The camera of this browser", BROWSER)]], [this.about.asks_token ? "On the server of this page" : "On this machine", options]];
    part("source").replaceChildren(...groups.filter(([, entries]) => entries.length).map(([label, entries]) => {
      const group = document.createElement("optgroup");
      group.label = label;
      group.append(...entries);
      return group;
    }));
    if (options.length && (!camera || found.sources[0]?.kind === "named")) part("source").value = options[0].value;
    this.sourceChanged();
  }

  sourceChanged() {
    const value = part("source").value, browser = value === BROWSER;
    part("other-field").hidden = value !== OTHER;
    part("other").required = value === OTHER;
    part("start").disabled = browser && !cameraAllowed();
    part("source-note").hidden = !browser;
    setText(part("source-note"), !cameraAllowed() ? NO_CAMERA
      : this.about.asks_token ? "The pictures of your camera go to the server of this page, are analysed in its memory, and are not stored. Everyone who is logged in to this app can watch them."
      : "The pictures of your camera go to the app on this machine, are analysed in memory, and are not stored.");
  }

  async start() {
    const value = part("source").value === OTHER ? part("other").value.trim() : part("source").value;
    this.complain("");
    this.mood("Starting", "wait");
    try {
      if (value === BROWSER) await this.camera.start();
      else await ask("api/live", order("POST", { source: value }));
    } catch (error) {
      this.camera.stop();
      this.complain(error.message);
    }
  }

  async stop() {
    this.camera.stop();
    try {
      await ask("api/live", { method: "DELETE" });
    } catch (error) {
      this.complain(error.message);
    }
  }

  complain(text) {
    part("live-complaint").hidden = !text;
    setText(part("live-complaint"), sentence(text));
  }

  // The browser's camera is turned off when another view is opened.
  shown(on) {
    if (!on && this.camera.on) this.stop();
  }

  watch(on) {
    if (on === this.watching) return;
    this.watching = on;
    this.turn += 1;
    if (on) this.poll(this.turn);
  }

  // One request at a time, so that a slow connection shows fewer pictures rather than older ones.
  async poll(turn) {
    while (this.watching && turn === this.turn) {
      try {
        await this.ask();
      } catch {
        this.mood("Connection lost, reconnecting", "bad");
        await new Promise((done) => setTimeout(done, RETRY_MS));
      }
    }
  }

  async ask() {
    const answer = await fetch(`api/live/view?viewer=${this.viewer}&after=${this.number}`, { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (answer.status === 401) location.replace("login");
    if (!answer.ok) {
      this.mood((await answer.json()).error, "bad");
      await new Promise((done) => setTimeout(done, RETRY_MS));
      return;
    }
    const length = Number(answer.headers.get("X-State-Bytes")), bytes = await answer.arrayBuffer();
    const state = JSON.parse(new TextDecoder().decode(bytes.slice(0, length)));
    if (bytes.byteLength > length) await this.show(new Blob([bytes.slice(length)], { type: "image/jpeg" }));
    this.number = state.number;
    this.render(state);
  }

  async show(blob) {
    const address = URL.createObjectURL(blob);
    part("picture").src = address;
    try {
      await part("picture").decode();
    } finally {
      URL.revokeObjectURL(address);
    }
    part("picture").dataset.shown = String(1 + Number(part("picture").dataset.shown ?? 0));
  }

  render(state) {
    const off = state.run === "off", over = off || state.run === "ended" || state.run === "failed";
    part("picture").hidden = off || state.run === "starting" || !state.status;
    part("empty").hidden = !part("picture").hidden;
    part("stop").hidden = over;
    part("start").hidden = !over;
    part("source").disabled = part("other").disabled = !over;
    this.renderMood(state);
    part("figures").hidden = part("doing").hidden = off;
    part("no-action").hidden = !off;
    setText(part("nobody"), off ? "Each person in view is listed here, with all emotions." : "No faces in view.");
    this.renderFigures(state);
    this.renderAction(off ? null : state.action, off);
    this.renderPeople(state.people);
    fillLines(part("likely"), guesses(state.likely));
    part("likely-block").hidden = !state.likely.length;
    part("history-block").hidden = !state.history.length;
    fillLines(part("history"), state.history.toReversed().map((one) => `${words(one.label)} · ${percent(one.score)} · ${seconds(one.start_s)} to ${seconds(one.end_s)}`));
  }

  renderMood(state) {
    const trouble = state.status && TROUBLES[state.status.source_state];
    if (state.run === "off") this.mood("Off", "over");
    else if (state.run === "starting") this.mood("Starting", "wait");
    else if (state.run === "failed") this.mood("Failed", "bad");
    else if (state.run === "ended") this.mood("The source has ended", "over");
    else if (trouble) this.mood(trouble, "bad");
    else if (state.idle_s > IDLE_S) this.mood(`No new picture for ${Math.round(state.idle_s)} s`, "wait");
    else if (state.kind === "live") this.mood("Live", "good");
    else this.mood(state.kind === "pictures" ? "Picture" : state.source === "demo" ? "Demo" : "Playing", "plays");
    const [head, text] = state.run === "starting" ? [`Opening ${state.source}`, "Loading the models takes a moment the first time."]
      : state.error ? ["This source cannot be watched", sentence(state.error)]
      : state.run === "ended" ? ["The source has ended", "Press Start to watch it again."]
      : ["Nothing to watch yet", "Choose a camera, a file or the demo above, and press Start. Faces, emotions and actions are then recognised as it plays."];
    setText(part("empty-head"), head);
    setText(part("empty-text"), text);
    part("picture").classList.toggle("stale", state.run !== "running");
    if (state.run === "failed") part("picture").hidden = true, part("empty").hidden = false;
  }

  mood(text, kind) {
    const changed = part("live-state").dataset.mood !== kind;
    setText(part("live-state"), text);
    part("live-state").dataset.mood = kind;
    if (changed && kind === "bad") announce(text);
  }

  renderFigures(state) {
    const status = state.status ?? { fps: 0, latency_ms: 0, frames_dropped: 0, provider: "" }, none = !state.status || state.run === "off";
    setText(part("fps"), none ? "–" : `${status.fps.toFixed(status.fps < 10 ? 1 : 0)} fps`);
    setText(part("latency"), none ? "–" : `${status.latency_ms.toFixed(0)} ms`);
    setText(part("dropped"), none ? "–" : String(status.frames_dropped));
    setText(part("provider"), none ? "–" : status.provider || "–");
    const precisions = new Set(Object.values(state.models).map((name) => name.split(" ").at(-1).toUpperCase()));
    setText(part("precision"), [...precisions].join(" + ") || "–");
    setText(part("viewers"), String(state.viewers));
  }

  renderAction(action, off) {
    const known = action?.ready && !quiet(action.label);
    setText(part("action"), off ? "–" : !action ? (this.about.actions ? "–" : "Off") : !action.ready ? "Warming up …" : words(action.label));
    part("action").classList.toggle("quiet", !known);
    setText(part("action-score"), known ? percent(action.score) : "");
    part("action-bar").style.width = known ? percent(action.score).replace(" ", "") : "0";
    part("action-bar").parentElement.hidden = Boolean(action?.ready) && action.label === LABEL_BACKGROUND;
  }

  renderPeople(people) {
    const sorted = people.toSorted((one, other) => one.track - other.track);
    part("nobody").hidden = sorted.length > 0;
    fillList(part("people"), "person", sorted, (item, person) => this.renderPerson(item, person, sorted.length));
  }

  // With many people, only the three most probable emotions of each are shown.
  renderPerson(item, person, people) {
    const emotion = person.emotion ?? { label: "", score: 0, probs: {}, message: "", strength: null };
    const known = emotion.label && !quiet(emotion.label);
    item.dataset.track = person.track;
    paint(item, emotion.label);
    setText(item.querySelector(".who"), `Person ${person.track}`);
    setText(item.querySelector(".chip"), emotion.strength ? `${emotion.strength} · ${percent(emotion.intensity)}` : "");
    item.querySelector(".chip").hidden = !emotion.strength;
    item.querySelector(".chip").title = "Strength: the share of people who would see something other than a neutral face";
    setText(item.querySelector("strong"), emotion.label ? words(emotion.label) : "In view");
    item.querySelector("strong").classList.toggle("quiet", !known);
    setText(item.querySelector(".score"), known ? percent(emotion.score) : "");
    const all = Object.entries(emotion.probs), likeliest = all.toSorted((one, other) => other[1] - one[1]).slice(0, 3);
    fillList(item.querySelector(".bars"), "bar", people > FEW ? likeliest : all, (row, entry) => fillBar(row, entry, entry[0] === emotion.label));
    item.querySelector(".message").hidden = !emotion.message;
    setText(item.querySelector(".message"), emotion.message);
  }
}
