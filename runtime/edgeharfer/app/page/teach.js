// Teaching: records examples of each action with the browser's camera, and shows what was learned from them.
import { announce, ask, order, part, percent, sentence, setText, words } from "./parts.js";
import { bestFormat, openCamera } from "./record.js";

const ASK_MS = 500, PIECE_MS = 200, PATIENCE = 5, ENOUGH = 5;

export class Teach {
  constructor(about) {
    this.limits = about.limits;
    setText(part("teach-terms"), `Each example is ${this.limits.example_s} seconds without sound, after a countdown. Record five of each action, in the places where the camera will be, and yourself doing nothing as one more. The clips are kept on the machine that runs this app until you remove them or it is closed.`);
    part("teach-camera").addEventListener("click", () => (this.stream ? this.close() : this.open()));
    part("example-form").addEventListener("submit", (event) => { event.preventDefault(); this.record(); });
    part("teach-start").addEventListener("click", () => this.send("POST", "api/lesson"));
    part("teach-clear").addEventListener("click", () => this.send("DELETE", "api/lesson"));
    part("teach-try").addEventListener("click", () => this.tryLive());
    this.refresh();
  }

  shown(on) {
    if (!on) this.close();
  }

  async open() {
    this.complain("");
    try {
      this.stream = await openCamera();
    } catch (error) {
      this.complain(error.message);
      return;
    }
    part("teach-empty").hidden = true;
    part("teach-preview").srcObject = this.stream;
    await part("teach-preview").play();
    setText(part("teach-camera"), "Turn the camera off");
    this.mood("Ready", "over");
    part("example-record").disabled = false;
  }

  close() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = undefined;
    part("teach-preview").srcObject = null;
    part("teach-empty").hidden = false;
    part("example-record").disabled = true;
    setText(part("teach-camera"), "Turn the camera on");
    this.mood("Camera off", "over");
  }

  // A countdown, then one example of a few seconds.
  async record() {
    const label = part("example-label").value.trim();
    if (!label || !this.stream || this.busy) return;
    this.busy = true;
    this.complain("");
    part("example-record").disabled = true;
    try {
      for (let left = this.limits.countdown_s; left > 0; left -= 1) {
        this.mood(`${words(label)} in ${left}`, "wait");
        await pause(1000);
      }
      this.mood(`Recording ${words(label)}`, "bad");
      const clip = await this.take();
      this.mood("Sending", "wait");
      const headers = { "Content-Type": "application/octet-stream" };
      this.render(await ask(`api/lesson/examples?label=${encodeURIComponent(label)}`, { method: "POST", headers, body: clip }));
      this.mood("Ready", "over");
    } catch (error) {
      this.complain(error.message);
      this.mood(this.stream ? "Ready" : "Camera off", "over");
    }
    this.busy = false;
    part("example-record").disabled = !this.stream;
  }

  // Pieces with pictures are counted, since the encoder of a busy machine starts late and leaves gaps.
  take() {
    return new Promise((done, fail) => {
      const stop = () => { if (recorder.state === "recording") recorder.stop(); };
      const pieces = [], recorder = new MediaRecorder(this.stream, { mimeType: bestFormat(), videoBitsPerSecond: 2_500_000 });
      recorder.addEventListener("dataavailable", (event) => {
        if (!event.data.size) return;
        pieces.push(event.data);
        if (pieces.length * PIECE_MS >= 1000 * this.limits.example_s) stop();
      });
      recorder.addEventListener("error", () => fail(new Error("The browser cannot record this camera.")));
      recorder.addEventListener("stop", () => (this.stream ? done(new Blob(pieces)) : fail(new Error("The camera was turned off."))));
      recorder.start(PIECE_MS);
      setTimeout(stop, PATIENCE * 1000 * this.limits.example_s);
    });
  }

  async send(method, address) {
    this.complain("");
    try {
      this.render(await ask(address, { method }));
    } catch (error) {
      this.complain(error.message);
    }
  }

  async tryLive() {
    try {
      await ask("api/lesson/try", { method: "POST" });
      location.hash = "live";
    } catch (error) {
      this.complain(error.message);
    }
  }

  async refresh() {
    try {
      this.render(await ask("api/lesson"));
    } catch (error) {
      this.complain(error.message);
    }
  }

  render(state) {
    const working = state.phase === "working";
    part("no-classes").hidden = state.classes.length > 0;
    part("classes").replaceChildren(...state.classes.map((one) => this.classRow(one, working)));
    part("teach-start").disabled = working || state.classes.length < 2;
    part("teach-clear").disabled = working || !state.classes.length;
    part("teach-progress").hidden = !working;
    part("teach-progress").value = state.share;
    if (state.phase === "failed") this.complain(state.error);
    part("taught").hidden = working || !state.result;
    if (state.result && !working) this.renderResult(state.result);
    if (working) setTimeout(() => this.refresh(), ASK_MS);
    else if (this.worked && state.phase === "taught") announce(part("taught-score").textContent);
    this.worked = working;
  }

  classRow({ label, examples }, working) {
    const row = document.createElement("li"), name = document.createElement("button"), count = document.createElement("span"), remove = document.createElement("button");
    row.className = "row class-row";
    name.type = remove.type = "button";
    name.className = remove.className = "quiet";
    name.textContent = label;
    name.title = "Record another example of this action";
    name.addEventListener("click", () => { part("example-label").value = label; part("example-record").focus(); });
    count.className = examples < ENOUGH ? "soft" : "enough";
    count.textContent = examples < ENOUGH ? `${examples} of ${ENOUGH} examples` : `${examples} examples`;
    remove.textContent = "Remove";
    remove.setAttribute("aria-label", `Remove ${label}`);
    remove.disabled = working;
    remove.addEventListener("click", () => this.send("DELETE", `api/lesson/examples?label=${encodeURIComponent(label)}`));
    row.append(name, count, remove);
    return row;
  }

  renderResult(result) {
    const total = result.classes.reduce((sum, one) => sum + one.examples, 0);
    setText(part("taught-score"), `${percent(result.top1)} of ${total} examples recognised`);
    const cell = (kind, text) => { const made = document.createElement(kind); made.textContent = text; return made; };
    const line = (...cells) => { const row = document.createElement("tr"); row.append(...cells); return row; };
    const names = result.labels.map(words);
    const head = document.createElement("thead"), body = document.createElement("tbody");
    head.append(line(cell("th", "Shown"), ...names.map((name) => cell("th", name))));
    result.classes.forEach((one, index) => body.append(line(cell("th", words(one.label)), ...result.confusion[index].map((count) => cell("td", String(count))))));
    part("taught-table").replaceChildren(head, body);
    part("taught-warnings").replaceChildren(...result.warnings.map((text) => cell("li", text)));
    part("taught-warnings").hidden = !result.warnings.length;
  }

  complain(text) {
    part("teach-complaint").hidden = !text;
    setText(part("teach-complaint"), sentence(text));
  }

  mood(text, kind) {
    setText(part("teach-clock"), text);
    part("teach-clock").dataset.mood = kind;
  }
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
