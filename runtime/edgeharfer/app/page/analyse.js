// Uploads and recordings: sends them, shows the progress of their analysis, and shows the result.
import { announce, ask, part, percent, sentence, setText } from "./parts.js";
import { Studio } from "./record.js";
import { closeResult, showResult } from "./result.js";

const ASK_MS = 400, KEY = "edgeharfer-analysis";

export class Analyse {
  constructor(about) {
    this.about = about;
    this.studio = new Studio(about.limits.record_s, (file) => this.send(file), (text) => this.showError(text));
    const { upload_mb, video_s, keep_s } = about.limits;
    setText(part("terms"), `Up to ${upload_mb} MB and ${video_s / 60 >= 2 ? `${Math.round(video_s / 60)} minutes` : `${Math.round(video_s)} seconds`}. The file is deleted after the analysis, the report after ${Math.round(keep_s / 60)} minutes.`);
    part("choose").addEventListener("click", () => part("file").click());
    part("file").addEventListener("change", () => this.fileChosen());
    part("record").addEventListener("click", () => this.record());
    part("cancel").addEventListener("click", () => this.cancel());
    part("delete").addEventListener("click", () => this.deleteReport());
    part("another").addEventListener("click", () => this.reset());
    part("make-video").addEventListener("click", () => this.makeVideo());
    this.acceptDrops();
    addEventListener("resize", () => requestAnimationFrame(() => { if (!part("result").hidden && !part("analyse").hidden) this.redraw?.(); }));
    const kept = sessionStorage.getItem(KEY);
    if (kept) this.resume(kept);
  }

  shown(on) {
    if (!on) this.studio.close();
    if (on && this.redraw) this.redraw();
  }

  acceptDrops() {
    const zone = part("drop");
    for (const name of ["dragenter", "dragover"]) {
      addEventListener(name, (event) => {
        event.preventDefault();
        zone.classList.toggle("over", event.dataTransfer.types.includes("Files"));
      });
    }
    addEventListener("dragleave", (event) => { if (!event.relatedTarget) zone.classList.remove("over"); });
    addEventListener("drop", (event) => {
      event.preventDefault();
      zone.classList.remove("over");
      const file = event.dataTransfer.files[0];
      if (file && !part("analyse").hidden && !this.job && !part("intake").hidden) this.send(file);
    });
  }

  fileChosen() {
    const [file] = part("file").files;
    if (file) this.send(file);
    part("file").value = "";
  }

  async record() {
    part("complaint").hidden = true;
    await this.studio.open();
  }

  async send(file) {
    part("complaint").hidden = true;
    const { upload_mb } = this.about.limits;
    if (file.size > upload_mb * 1e6) {
      this.showError(`${file.name} is larger than ${upload_mb} MB, the limit for uploads.`);
      return;
    }
    this.file = file;
    this.open(file.name);
    try {
      const job = await this.upload(file);
      sessionStorage.setItem(KEY, job.id);
      await this.follow(job);
    } catch (error) {
      this.fail(error);
    }
  }

  // XMLHttpRequest reports the progress of an upload; fetch does not.
  upload(file) {
    return new Promise((done, fail) => {
      const request = this.request = new XMLHttpRequest();
      request.open("POST", `api/jobs?name=${encodeURIComponent(file.name.slice(0, 200))}&annotated=${Number(part("annotate").checked)}`);
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.responseType = "json";
      request.upload.addEventListener("progress", (event) => this.showProgress("Uploading", event.loaded / file.size));
      request.addEventListener("load", () => request.status === 202 ? done(request.response) : fail(new Error(request.response?.error ?? `The upload failed (HTTP ${request.status}).`)));
      request.addEventListener("error", () => fail(new Error("The upload was interrupted.")));
      request.addEventListener("abort", () => fail(new Error("")));
      request.send(file);
    });
  }

  async follow(job) {
    this.job = job;
    while (this.job?.id === job.id && ["waiting", "working"].includes(job.phase)) {
      const queued = job.phase === "waiting" && job.ahead > 0;
      const starting = job.phase === "waiting" || job.share === 0;
      this.showProgress(queued ? `Queued, ${job.ahead} ahead` : starting ? "Starting" : job.share < 1 ? "Analysing" : "Writing the report", starting ? null : job.share);
      await new Promise((next) => setTimeout(next, ASK_MS));
      job = await ask(`api/jobs/${job.id}`);
    }
    if (this.job?.id !== job.id) return;
    if (job.phase !== "done") throw new Error(job.error || "The analysis failed.");
    await this.finish(job);
  }

  async finish(job) {
    const digest = await ask(`api/jobs/${job.id}/digest`);
    part("progress").hidden = true;
    part("intake").hidden = true;
    part("result").hidden = false;
    this.redraw = showResult(job, digest, this.file, this.about);
    part("result-name").focus();
    announce(`The analysis of ${digest.name} is done.`);
  }

  async resume(id) {
    try {
      const job = await ask(`api/jobs/${id}`);
      this.open(job.name);
      await this.follow(job);
    } catch {
      this.reset();
    }
  }

  // The upload has been deleted, so it is sent once more.
  async makeVideo() {
    const file = this.file;
    part("annotate").checked = true;
    await this.deleteJob();
    await this.send(file);
  }

  async cancel() {
    this.request?.abort();
    await this.deleteJob();
    this.reset();
    announce("The analysis was cancelled.");
  }

  async deleteReport() {
    await this.deleteJob();
    this.reset();
    announce("The report was deleted.");
  }

  async deleteJob() {
    const id = this.job?.id;
    this.job = undefined;
    if (id) await fetch(`api/jobs/${id}`, { method: "DELETE" }).catch(() => undefined);
  }

  open(name) {
    part("intake").hidden = true;
    part("result").hidden = true;
    part("progress").hidden = false;
    setText(part("progress-name"), name);
    this.announced = "";
    this.showProgress("Uploading", 0);
    part("cancel").focus();
  }

  showProgress(text, share) {
    setText(part("progress-text"), text);
    setText(part("progress-share"), share === null ? "" : percent(share));
    if (share === null) part("progress-bar").removeAttribute("value");
    else part("progress-bar").value = share;
    if (text !== this.announced) announce(text);
    this.announced = text;
  }

  fail(error) {
    this.reset();
    if (error.message) this.showError(error.message);
  }

  showError(text) {
    setText(part("complaint"), sentence(text));
    part("complaint").hidden = false;
  }

  reset() {
    this.job = this.file = this.redraw = undefined;
    closeResult();
    sessionStorage.removeItem(KEY);
    for (const id of ["progress", "result", "complaint"]) part(id).hidden = true;
    part("intake").hidden = false;
    if (!part("analyse").hidden) part("choose").focus({ preventScroll: true });
  }
}
