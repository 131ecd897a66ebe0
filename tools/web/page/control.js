'use strict';
/* The connection to the server: /control, kept up. Speaks of itself through the handlers
 * { state, hello, open, closed, denied }. */

const token = {
  get value() { return sessionStorage.getItem('unreel-token') || ''; },
  set value(text) { sessionStorage.setItem('unreel-token', text); },
};
{
  /* The token comes after #, where no server and no proxy sees it, and does not stay there. */
  const match = /[#&]token=([^&]+)/.exec(location.hash);
  if (match) {
    token.value = decodeURIComponent(match[1]);
    history.replaceState(null, '', location.pathname + location.search);
  }
}

function authorized(headers = {}) {
  return token.value ? { ...headers, Authorization: `Bearer ${token.value}` } : headers;
}

/* The waiting times between tries: quick at first, never more than 8 s. */
class Backoff {
  constructor() { this.reset(); }
  reset() { this.next = 500; }
  delay() {
    const delay = this.next * (0.8 + 0.4 * Math.random());
    this.next = Math.min(this.next * 2, 8000);
    return delay;
  }
}

/* Seeds have up to 63 bits, more than numbers of a script: they come as strings. */
function parse(text) {
  return JSON.parse(text.replace(/"seed": (\d{16,})/g, '"seed": "$1"'));
}

class Control {
  constructor(handlers) {
    this.handlers = handlers;
    this.backoff = new Backoff();
    this.waiting = new Map();
    this.id = 0;
    this.clock = null; /* { offset, rtt }: seconds of running time minus page time */
  }

  /* Asked by HTTP first: a WebSocket does not tell why it was refused. */
  async connect() {
    clearTimeout(this.timer);
    this.socket = null;
    try {
      const response = await fetch('/api/state', { headers: authorized(), cache: 'no-store' });
      if (!response.ok) {
        const { error } = await response.json().catch(() => ({}));
        this.handlers.denied(response.status, error || response.statusText);
        if (response.status < 500) return;
        throw new Error(error);
      }
      this.handlers.state({ state: parse(await response.text()) });
      this.open();
    } catch {
      this.retry();
    }
  }

  open() {
    const protocols = token.value ? ['unreel', `token.${token.value}`] : ['unreel'];
    const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
    this.socket = new WebSocket(`${scheme}//${location.host}/control`, protocols);
    this.socket.onopen = () => {
      this.backoff.reset();
      this.clock = null;
      this.handlers.open();
      this.ping();
      this.pings = setInterval(() => this.ping(), 3000);
    };
    this.socket.onmessage = event => this.receive(parse(event.data));
    this.socket.onclose = event => {
      clearInterval(this.pings);
      for (const { reject } of this.waiting.values()) reject(new Error('The connection is gone.'));
      this.waiting.clear();
      this.socket = null;
      this.retry(event.code);
    };
  }

  retry(code) {
    const delay = this.backoff.delay();
    this.handlers.closed(delay, code);
    this.timer = setTimeout(() => this.connect(), delay);
  }

  get connected() { return this.socket !== null && this.socket !== undefined && this.socket.readyState === 1; }

  receive(message) {
    if (message.type === 'state' || message.type === 'hello') {
      this.handlers[message.type](message);
    } else if (message.type === 'pong') {
      this.tune(message);
    } else if (this.waiting.has(message.id)) {
      const { resolve, reject } = this.waiting.get(message.id);
      this.waiting.delete(message.id);
      if (message.type === 'done') resolve(message);
      else reject(new Error(message.error));
    } else if (message.type === 'error') {
      this.handlers.error(message.error);
    }
  }

  /* Answers come as promises. */
  ask(what, members = {}) {
    if (!this.connected) return Promise.reject(new Error('Not connected to unreel.'));
    const id = ++this.id;
    this.socket.send(JSON.stringify({ do: what, ...members, id }));
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
  }

  ping() {
    if (this.connected) this.socket.send(JSON.stringify({ do: 'ping', at: performance.now() }));
  }

  /* The best of the answers says how the server's running time and ours go together. */
  tune({ at, running }) {
    const now = performance.now(), rtt = (now - at) / 1000;
    if (!this.clock || rtt < this.clock.rtt * 1.05 + 0.0005)
      this.clock = { offset: running - (at + now) / 2000, rtt };
  }

  /* Seconds of the session's running time at a time of this page in ms; NaN: not known. */
  running(milliseconds) { return this.clock ? milliseconds / 1000 + this.clock.offset : NaN; }
}
