// Records from the browser's camera. Nothing is uploaded before the recording has ended.
import { part, setText } from "./parts.js";

const KINDS = ["video/webm;codecs=vp8", "video/webm;codecs=vp9", "video/webm", "video/mp4"];

export class Studio {
  // done: called with the recording as a File. showError: called with an error message.
  constructor(most, done, showError) {
    this.most = most;
    this.done = done;
    this.showError = showError;
    part("shoot").addEventListener("click", () => (this.recorder?.state === "recording" ? this.recorder.stop() : this.shoot()));
    part("leave").addEventListener("click", () => this.close());
  }

  async open() {
    if (!navigator.mediaDevices || !window.MediaRecorder) {
      this.showError("Browsers allow camera access only on https pages and on this machine.");
      return;
    }
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 } }, audio: false });
    } catch (error) {
      this.showError(error.name === "NotFoundError" ? "No camera found." : "Camera access was denied. Allow it for this page in the browser.");
      return;
    }
    part("drop").hidden = true;
    part("studio").hidden = false;
    part("preview").srcObject = this.stream;
    await part("preview").play();
    this.showStatus("Ready", "over", "Start recording");
    part("shoot").focus();
  }

  shoot() {
    const kind = KINDS.find((one) => MediaRecorder.isTypeSupported(one));
    const parts = [];
    this.recorder = new MediaRecorder(this.stream, { mimeType: kind, videoBitsPerSecond: 2_500_000 });
    this.recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
    this.recorder.addEventListener("stop", () => this.finish(parts, kind));
    this.recorder.start(1000);
    this.began = performance.now();
    this.timer = setInterval(() => this.tick(), 200);
    this.tick();
  }

  tick() {
    const passed = (performance.now() - this.began) / 1000;
    this.showStatus(`Recording ${passed.toFixed(0)} of ${this.most.toFixed(0)} s`, "bad", "Stop and analyse");
    if (passed >= this.most && this.recorder.state === "recording") this.recorder.stop();
  }

  finish(parts, kind) {
    const wanted = !this.left;
    this.recorder = undefined;
    this.close();
    const name = kind.startsWith("video/mp4") ? "recording.mp4" : "recording.webm";
    if (wanted) this.done(new File(parts, name, { type: kind }));
  }

  close() {
    clearInterval(this.timer);
    if (this.recorder?.state === "recording") {
      this.left = true;
      this.recorder.stop();
      return;
    }
    this.left = false;
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    part("preview").srcObject = null;
    part("studio").hidden = true;
    part("drop").hidden = false;
  }

  showStatus(text, mood, next) {
    setText(part("clock"), text);
    part("clock").dataset.mood = mood;
    setText(part("shoot"), next);
  }
}
