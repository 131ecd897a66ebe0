'use strict';
/* The video: WHEP, kept up. Handlers { playing, trouble, latency }. */

const CONNECT_MS = 20000, LOST_MS = 4000;
const RTP_WRAP = 2 ** 32 / 90000; /* s */

class Player {
  constructor(video, control, handlers) {
    Object.assign(this, { video, control, handlers });
    this.backoff = new Backoff();
    this.frames = 0;
    this.samples = [];
    this.cushion = 0;
    addEventListener('pagehide', () => this.leave(true));
    if (video.requestVideoFrameCallback) this.watchFrames();
    else setInterval(() => this.watchTime(), 250);
  }

  get playing() { return this.pc && this.pc.connectionState === 'connected' && this.frames > 0; }

  async start() {
    this.leave(false);
    if (!('RTCPeerConnection' in window)) {
      this.handlers.trouble('codec', 'This browser has no WebRTC.');
      return;
    }
    const pc = this.pc = new RTCPeerConnection(await this.servers());
    this.frames = 0;
    this.handlers.trouble('connecting');
    pc.addTransceiver('video', { direction: 'recvonly' });
    pc.ontrack = event => this.attach(event);
    pc.onconnectionstatechange = () => this.connectionChanged(pc);
    this.limit = setTimeout(() => this.fail(pc, 'path'), CONNECT_MS);
    try {
      await pc.setLocalDescription(await pc.createOffer());
      if (pc.getConfiguration().iceServers.length) await gathered(pc, 1500);
      await this.post(pc);
    } catch (error) {
      this.fail(pc, error.kind || 'gone', error.message, error.retry);
    }
  }

  async servers() {
    try {
      const response = await fetch('/api/ice', { headers: authorized() });
      return response.ok ? await response.json() : {};
    } catch {
      return {};
    }
  }

  async post(pc) {
    const response = await fetch('/whep', {
      method: 'POST',
      headers: authorized({ 'Content-Type': 'application/sdp' }),
      body: pc.localDescription.sdp,
    });
    if (response.status !== 201) throw await refusal(response);
    this.resource = response.headers.get('Location');
    await pc.setRemoteDescription({ type: 'answer', sdp: await response.text() });
  }

  attach({ receiver, streams, track }) {
    if ('jitterBufferTarget' in receiver) receiver.jitterBufferTarget = 0; /* paced by the server */
    this.video.srcObject = streams[0] || new MediaStream([track]);
    this.play();
  }

  play() {
    this.video.play().catch(error => {
      if (error.name === 'NotAllowedError') this.handlers.trouble('gesture');
    });
  }

  connectionChanged(pc) {
    if (pc !== this.pc) return;
    clearTimeout(this.lost);
    if (pc.connectionState === 'connected') {
      clearTimeout(this.limit);
      if (!this.frames) this.handlers.trouble('wait');
    }
    if (pc.connectionState === 'failed') this.fail(pc, this.frames ? 'lost' : 'path');
    if (pc.connectionState === 'disconnected')
      this.lost = setTimeout(() => this.fail(pc, 'lost'), LOST_MS);
  }

  fail(pc, kind, text, retry = true) {
    if (pc !== this.pc) return;
    this.leave(false);
    const delay = this.backoff.delay();
    this.handlers.trouble(kind, text, retry ? delay : 0);
    if (retry) this.timer = setTimeout(() => this.start(), delay);
  }

  /* Tells the server, so that it need not find out. */
  leave(closing) {
    clearTimeout(this.limit);
    clearTimeout(this.lost);
    clearTimeout(this.timer);
    if (this.resource)
      fetch(this.resource, { method: 'DELETE', headers: authorized(), keepalive: closing }).catch(() => {});
    this.resource = null;
    if (this.pc) this.pc.close();
    this.pc = null;
  }

  firstFrame() {
    this.backoff.reset();
    this.handlers.playing();
  }

  watchFrames() {
    const each = (now, meta) => {
      if (this.frames++ === 0) this.firstFrame();
      this.lastFrame = now;
      if (meta.rtpTimestamp !== undefined) this.measure(meta);
      this.video.requestVideoFrameCallback(each);
    };
    this.video.requestVideoFrameCallback(each);
  }

  /* Browsers without frame callbacks: whether the time goes on. */
  watchTime() {
    if (this.pc && this.video.currentTime !== this.time && this.video.videoWidth) {
      this.time = this.video.currentTime;
      this.lastFrame = performance.now();
      if (this.frames++ === 0) this.firstFrame();
    }
  }

  /* RTP timestamps are running time: how long ago was this picture due? */
  measure(meta) {
    const shown = this.control.running(meta.expectedDisplayTime);
    if (Number.isNaN(shown)) return;
    let age = (shown - meta.rtpTimestamp / 90000) % RTP_WRAP;
    if (age < -RTP_WRAP / 2) age += RTP_WRAP;
    this.samples.push(age + this.cushion);
    if (this.samples.length > 32) this.samples.shift();
  }

  /* Median of the last pictures in seconds; NaN: not known. */
  get latency() {
    const sorted = [...this.samples].sort((a, b) => a - b);
    return sorted.length ? sorted[sorted.length >> 1] : NaN;
  }
}

function gathered(pc, limit) {
  return new Promise(resolve => {
    if (pc.iceGatheringState === 'complete') resolve();
    pc.addEventListener('icegatheringstatechange', () => pc.iceGatheringState === 'complete' && resolve());
    setTimeout(resolve, limit);
  });
}

async function refusal(response) {
  const { error } = await response.json().catch(() => ({}));
  const kinds = { 401: 'token', 403: 'denied', 406: 'codec', 421: 'denied', 503: 'wait' };
  return Object.assign(new Error(error || `HTTP ${response.status}`), {
    kind: kinds[response.status] || 'refused',
    retry: ![401, 403, 406, 421].includes(response.status),
  });
}
