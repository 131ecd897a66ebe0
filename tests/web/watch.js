/* Put into the page by the tests: reads the bar code of every picture that is shown. */
(() => {
  const BITS = 24, video = document.getElementById('video');
  const canvas = document.createElement('canvas'), context = canvas.getContext('2d', { willReadFrequently: true });
  const side = () => Math.min(16, Math.floor(video.videoWidth / BITS) & ~1);

  /* The number in the top left corner, -1 if the rows of bars are not each other's complement. */
  function read() {
    const cell = side();
    canvas.width = BITS * cell;
    canvas.height = 2 * cell;
    context.drawImage(video, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    const light = (x, y) => pixels[4 * (Math.floor(y) * canvas.width + Math.floor(x)) + 1] > 128;
    let number = 0;
    for (let bit = 0; bit < BITS; bit++) {
      const on = light((bit + 0.5) * cell, 0.5 * cell);
      if (on === light((bit + 0.5) * cell, 1.5 * cell)) return -1;
      number = number * 2 + (on ? 1 : 0);
    }
    return number;
  }

  /* Colour in the middle. */
  function colour() {
    context.drawImage(video, video.videoWidth / 2, video.videoHeight / 2, 1, 1, 0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  }

  window.watched = { shown: [], colour };
  const each = (now, meta) => {
    watched.shown.push({
      number: read(), read: performance.now(), now, presented: meta.presentationTime,
      at: meta.expectedDisplayTime, rtp: meta.rtpTimestamp,
      running: control.running(meta.expectedDisplayTime), rtt: control.clock?.rtt,
    });
    video.requestVideoFrameCallback(each);
  };
  video.requestVideoFrameCallback(each);
})();
