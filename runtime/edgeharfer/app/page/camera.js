// Sends the pictures of this browser's camera to the app, each one when the app asks for the next.
import { openCamera } from "./record.js";

const LONGEST = 960, QUALITY = 0.8, HIDDEN_MS = 1000, NORMAL = 1000;
const LOST = "The connection to the app was lost.", UNPLUGGED = "The camera was disconnected.";

// Whether browsers give this page a camera: on this machine, or over https.
export const cameraAllowed = () => window.isSecureContext && Boolean(navigator.mediaDevices);

export async function hasCamera() {
  if (!cameraAllowed()) return false;
  try {
    return (await navigator.mediaDevices.enumerateDevices()).some((one) => one.kind === "videoinput");
  } catch {
    return false;
  }
}

export class CameraSender {
  // failed: called with an error message if the connection ends unexpectedly.
  constructor(failed) {
    this.failed = failed;
  }

  get on() { return Boolean(this.stream); }

  // Throws an Error with a message for the user.
  async start() {
    this.stop();
    const stream = this.stream = await openCamera();
    const video = document.createElement("video"), canvas = document.createElement("canvas");
    video.muted = video.playsInline = true;
    video.srcObject = stream;
    await video.play();
    const address = new URL("api/live/camera", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    address.hash = "";
    const socket = this.socket = new WebSocket(address);
    stream.getVideoTracks()[0].addEventListener("ended", () => this.fail(socket, UNPLUGGED));
    socket.addEventListener("message", async () => {
      const picture = await takePicture(video, canvas);
      if (socket.readyState === WebSocket.OPEN && picture) socket.send(picture);
    });
    socket.addEventListener("close", (event) => this.fail(socket, event.code === NORMAL ? "" : event.reason || LOST));
  }

  stop() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.socket?.close(NORMAL);
    this.stream = this.socket = undefined;
  }

  fail(socket, reason) {
    if (socket !== this.socket) return;
    this.stop();
    if (reason) this.failed(reason);
  }
}

// The next picture of the camera as JPEG, the newest one at this moment.
async function takePicture(video, canvas) {
  await nextPicture(video);
  const scale = Math.min(1, LONGEST / Math.max(video.videoWidth, video.videoHeight, 1));
  canvas.width = Math.max(1, Math.round(video.videoWidth * scale));
  canvas.height = Math.max(1, Math.round(video.videoHeight * scale));
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
}

// A hidden page draws no pictures, so it sends one a second.
function nextPicture(video) {
  return new Promise((done) => {
    video.requestVideoFrameCallback?.(done);
    setTimeout(done, video.requestVideoFrameCallback ? HIDDEN_MS : 1000 / 30);
  });
}
