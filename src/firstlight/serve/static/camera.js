// A camera: its picture in a video element, and stills of it.

import { make } from "./elements.js";

// `changed` is called when it starts and when it stops, also by itself, such as when it is unplugged.
export function camera(video, changed) {
  let stream = null;
  let turn = 0; // a permission that comes after a stop is not used

  function stop() {
    turn += 1;
    const was = stream;
    stream = null;
    for (const track of was?.getTracks() ?? []) track.stop();
    video.srcObject = null;
    if (was) changed();
  }

  return {
    stop,
    isOn: () => stream !== null,
    // Whether a still can be taken.
    isReady: () => stream !== null && video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA,
    // Resolves to whether the camera is on.
    async start(deviceId) {
      stop();
      const asked = turn;
      let given;
      try {
        given = await navigator.mediaDevices.getUserMedia({ video: deviceId ? { deviceId: { exact: deviceId } } : true });
      } catch {
        return false;
      }
      if (asked !== turn) {
        for (const track of given.getTracks()) track.stop();
        return false;
      }
      stream = given;
      video.srcObject = stream;
      stream.getVideoTracks()[0]?.addEventListener("ended", () => stream === given && stop());
      changed();
      return true;
    },
    // The whole picture as a PNG, or with `side` its middle as a JPEG of at most that many pixels a side.
    still(side) {
      const { videoWidth: width, videoHeight: height } = video;
      const middle = Math.min(width, height);
      const size = side ? { width: Math.min(side, middle), height: Math.min(side, middle) } : { width, height };
      const canvas = make("canvas", size);
      const from = side ? [(width - middle) / 2, (height - middle) / 2, middle, middle] : [0, 0, width, height];
      canvas.getContext("2d").drawImage(video, ...from, 0, 0, size.width, size.height);
      return new Promise((resolve) => canvas.toBlob(resolve, side ? "image/jpeg" : "image/png", 0.92));
    },
  };
}
