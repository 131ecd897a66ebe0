'use strict';
/* What is on the page and what it does. */

const $ = id => document.getElementById(id);
const HOW = {
  blend: 'The video goes on; the new prompt takes over across a few chunks.',
  recache: 'The video goes on; what it remembers is read again under the new prompt.',
  cut: 'A new scene that owes nothing to the one before.',
};
const STAGES = [
  ['denoise', 'Denoise', '--stage-denoise'],
  ['cache', 'Cache', '--stage-cache'],
  ['decode', 'Decode', '--stage-decode'],
];
const HISTORY_MAX = 100;

const page = {
  state: {},
  maySteer: false,
  steering: 'nobody',
  promptMax: 16384,
  denied: false, /* 'token', or why */
  tokenTried: false,
  serverGone: false,
  trouble: ['connecting'],
};

/* ---- messages ---------------------------------------------------------------------------------- */

function toast(text, kind = 'info') {
  const element = document.createElement('p');
  element.className = `toast ${kind}`;
  element.textContent = text;
  $('toasts').append(element);
  while ($('toasts').children.length > 3) $('toasts').firstChild.remove();
  setTimeout(() => element.classList.add('leaving'), 4600);
  setTimeout(() => element.remove(), 5000);
}

function ask(what, members) {
  return control.ask(what, members).catch(error => {
    toast(sentence(error.message), 'bad');
    throw error;
  });
}

function sentence(text) {
  const trimmed = String(text).trim();
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? '' : '.');
}

function status(kind, text) {
  $('status').dataset.kind = kind;
  if ($('status-text').textContent !== text) $('status-text').textContent = text;
}

/* What covers the video while there is none: title, text, and perhaps something to do. */
function notice(title, text = '', { busy = false, button = null, tokenForm = false } = {}) {
  $('notice').hidden = !title;
  if (!title) return;
  $('notice-reel').classList.toggle('still', !busy);
  $('notice-title').textContent = title;
  $('notice-text').textContent = text;
  $('notice-button').hidden = !button;
  if (button) {
    $('notice-button').textContent = button.text;
    $('notice-button').onclick = button.run;
  }
  if ($('token-form').hidden === tokenForm) {
    $('token-form').hidden = !tokenForm;
    if (tokenForm) $('token').focus();
  }
}

function seconds(milliseconds) {
  return `${Math.max(1, Math.round(milliseconds / 1000))} s`;
}

/* Back from the question for the token. */
function watch() {
  page.denied = false;
  explain();
}

/* One place decides what is said, whatever order the troubles come in. */
function explain() {
  const [kind, text, delay] = page.trouble;
  const again = { text: 'Try again now', run: () => player.start() };
  if (page.denied === 'token') {
    status('bad', 'Token needed');
    notice('This needs the token', text || 'unreel printed an address with a token when it started. Open that, or enter the token here.', { tokenForm: true, button: control.connected ? { text: 'Keep watching', run: watch } : null });
  } else if (page.denied) {
    status('bad', 'Refused');
    notice('The server refuses this page', sentence(page.denied));
  } else if (page.serverGone) {
    status('bad', 'Server gone');
    notice('The server is gone', 'unreel has ended or the network is down. This page connects again by itself.', { busy: true, button: { text: 'Try again now', run: () => control.connect() } });
  } else if (player.playing || kind === 'playing') {
    playingStatus();
    notice('');
  } else if (kind === 'gesture') {
    status('waiting', 'Ready');
    notice('Ready to play', 'This browser wants a click before it plays.', { button: { text: 'Play', run: () => player.play() } });
  } else if (kind === 'codec') {
    status('bad', 'No codec');
    notice('This browser cannot play the stream', `${sentence(text)} It needs WebRTC with H.264 or VP8, which current Chrome, Edge, Firefox and Safari have.`);
  } else if (kind === 'path') {
    status('bad', 'No connection');
    notice('The video does not get through', `The page works, but no direct way for the video was found. Behind routers or firewalls unreel needs --stun or --turn. Next try in ${seconds(delay)}.`, { busy: true, button: again });
  } else if (kind === 'wait' && page.state.paused && page.poster) {
    status('paused', 'Paused');
    notice('');
    badge();
  } else if (kind === 'wait') {
    if (page.state.paused) showPoster();
    status('waiting', page.state.paused ? 'Paused' : 'Waiting');
    notice(page.state.paused ? 'Paused' : 'No picture yet', page.state.paused ? 'The picture comes when the video goes on.' : 'The first one is being computed.', { busy: !page.state.paused });
  } else if (kind === 'token' || kind === 'denied') {
    page.denied = kind === 'token' ? 'token' : text;
    explain();
  } else if (kind === 'refused') {
    status('bad', 'Refused');
    notice('The stream was refused', `${sentence(text)} Next try in ${seconds(delay)}.`, { button: again });
  } else if (kind === 'lost' || kind === 'gone') {
    status('waiting', 'Reconnecting');
    notice('The video stopped coming', 'Connecting again.', { busy: true });
  } else {
    status('waiting', 'Connecting');
    notice('Connecting', '', { busy: true });
  }
}

/* Who comes while it is paused gets no video, but sees the picture it stands at. */
async function showPoster() {
  if (page.poster !== undefined) return;
  page.poster = null;
  const response = await fetch('/api/picture', { headers: authorized() }).catch(() => null);
  page.poster = response && response.ok ? URL.createObjectURL(await response.blob()) : undefined;
  if (page.poster) $('video').poster = page.poster;
  explain();
}

function dropPoster() {
  if (page.poster) URL.revokeObjectURL(page.poster);
  page.poster = undefined;
  $('video').removeAttribute('poster');
}

function playingStatus() {
  const late = performance.now() - player.lastFrame > 2500;
  if (page.state.paused) status('paused', 'Paused');
  else if (late) status('waiting', 'Waiting for pictures');
  else status('live', 'Live');
  badge();
}

function badge() {
  const s = page.state;
  const text = s.paused ? 'Paused' : s.recording ? 'Recording' : '';
  $('badge').hidden = !text;
  $('badge').dataset.kind = s.paused ? 'paused' : 'recording';
  $('badge').textContent = text;
}

/* ---- state ------------------------------------------------------------------------------------- */

function showState(message) {
  const before = page.state, state = page.state = message.state;
  if (message.may_steer !== undefined) {
    page.maySteer = message.may_steer;
    page.steering = message.steering;
    page.steerer = message.steerer;
    if (page.tokenTried && !page.maySteer) toast('That is not the token.', 'bad');
    page.tokenTried = false;
  }
  player.cushion = state.cushion || 0;
  if (before.paused && !state.paused) {
    dropPoster();
    if (!player.playing) player.start();
  }
  showFacts(state);
  if (before.prompt !== state.prompt) $('now').textContent = state.prompt || '';
  $('now-label').textContent = state.scene_asked > state.scene ? 'Coming with the next chunk' : 'On screen';
  if (before.prompt_switch !== state.prompt_switch && HOW[state.prompt_switch] && !ownHow())
      showHow(state.prompt_switch);
  if (before.seed !== state.seed && document.activeElement !== $('seed')) $('seed').value = state.seed;
  if (JSON.stringify(before.history) !== JSON.stringify(state.history)) showHistory(state.history || []);
  showTransport(state);
  showWheel();
  measure(state);
  explain();
}

function showFacts(s) {
  const facts = [];
  if (s.width) facts.push(`${s.width} × ${s.height}`);
  if (s.viewers > 0) facts.push(`${s.viewers} watching`);
  $('facts').textContent = facts.join(' · ');
  if (s.width) document.documentElement.style.setProperty('--ratio', s.width / s.height);
}

function label(button, icon, text) {
  button.querySelector('use').setAttribute('href', `#i-${icon}`);
  button.querySelector('span').textContent = text;
}

function showTransport(s) {
  label($('pause'), s.paused ? 'play' : 'pause', s.paused ? 'Go on' : 'Pause');
  $('pause').classList.toggle('on', Boolean(s.paused));
  $('record').setAttribute('aria-pressed', String(Boolean(s.recording)));
  label($('record'), 'record', s.recording ? 'Stop recording' : 'Record');
  document.title = s.prompt ? `${s.prompt.slice(0, 60)} – unreel` : 'unreel';
}

function showWheel() {
  const other = page.maySteer && page.steering === 'other', watching = !page.maySteer && control.connected;
  $('wheel').hidden = !other && !watching;
  if (other) $('wheel-text').textContent = `${page.steerer} is steering.`;
  if (watching) $('wheel-text').textContent = 'You are watching. Steering needs the token.';
  $('wheel-button').textContent = other ? 'Take over' : 'Enter token';
  const disabled = !page.maySteer || !control.connected;
  for (const element of document.querySelectorAll('.steer, .composer input, #prompt, #seed, #quick-text'))
    element.disabled = disabled;
  $('save').disabled = !control.connected;
}

function showHistory(entries) {
  const list = $('history');
  const shown = entries.slice(-HISTORY_MAX).reverse();
  $('history-empty').hidden = shown.length > 0;
  list.replaceChildren(...shown.map(historyItem));
}

function historyItem(entry) {
  const item = document.createElement('li');
  const what = entry.what === 'prompt' ? entry.how : entry.what;
  item.innerHTML = '<button type="button" class="entry"><svg aria-hidden="true"><use></use></svg><span></span><small></small></button>' +
    '<button type="button" class="quiet icon-only steer" aria-label="Send again"><svg aria-hidden="true"><use href="#i-again"/></svg></button>';
  const [use, again] = item.querySelectorAll('button');
  item.querySelector('use').setAttribute('href', `#i-${$(`i-${what}`) ? what : 'default'}`);
  item.querySelector('small').textContent = [what, entry.who].filter(Boolean).join(' · ');
  const text = item.querySelector('span');
  text.className = entry.prompt ? 'prompt-text' : '';
  text.textContent = entry.prompt || (what === 'seed' ? `Seed ${entry.seed}` : 'The video began anew');
  use.title = entry.prompt ? 'Write on from this prompt' : '';
  use.disabled = !entry.prompt && what !== 'seed';
  use.onclick = () => (entry.prompt ? write(entry.prompt) : ($('seed').value = entry.seed));
  again.hidden = !entry.prompt;
  again.disabled = !page.maySteer;
  again.onclick = () => sendPrompt(entry.prompt).catch(() => {});
  return item;
}

/* ---- figures ----------------------------------------------------------------------------------- */

const charts = {
  rate: new Chart($('c-rate'), { colours: ['--accent'], floor: 16 }),
  latency: new Chart($('c-latency'), { colours: ['--accent'], floor: 200 }),
  buffer: new Chart($('c-buffer'), { colours: ['--accent'], floor: 1 }),
  stages: new Chart($('c-stages'), { colours: STAGES.map(s => s[2]), floor: 100 }),
};

for (const [name, text, colour] of STAGES) {
  const item = document.createElement('li');
  item.innerHTML = `<span class="swatch"></span>${text} <b id="stage-${name}">–</b>`;
  item.firstChild.style.background = `var(${colour})`;
  $('legend').append(item);
}

function figure(id, value, digits) {
  $(id).textContent = Number.isFinite(value) ? value.toFixed(digits) : '–';
}

/* Milliseconds a chunk takes in each stage. */
function stageTimes(state) {
  const stages = state.chunks > 0 ? state.stages || {} : {};
  return STAGES.map(([name]) => 1000 * (stages[name] ?? NaN));
}

function measure(state) {
  const time = performance.now() / 1000;
  if (time - (page.measured || 0) < 0.4) return; /* answers to changes come in between */
  page.measured = time;
  const fresh = performance.now() - player.lastFrame < 2500;
  const latency = fresh && !state.paused ? player.latency * 1000 : NaN;
  const times = stageTimes(state), chunk = times.reduce((a, b) => a + b, 0);
  charts.rate.line = state.fps;
  charts.rate.add(time, [state.pictures_per_second ?? NaN]);
  charts.latency.add(time, [latency]);
  charts.buffer.add(time, [state.buffered ?? NaN]);
  charts.stages.add(time, times);
  figure('v-rate', state.pictures_per_second, 1);
  figure('v-latency', latency, 0);
  figure('v-buffer', state.buffered, 2);
  figure('v-stages', chunk, 0);
  STAGES.forEach(([name], i) => figure(`stage-${name}`, times[i], 0));
}

/* ---- direction --------------------------------------------------------------------------------- */

const chosenHow = () => document.querySelector('input[name=how]:checked').value;

function showHow(how)
{
    document.querySelector(`input[name=how][value=${how}]`).checked = true;
    $('how-note').textContent = HOW[how];
}

/* By a person: from then on so, whatever the server does by itself. */
function choose(how)
{
    localStorage.setItem('unreel-how', how);
    showHow(how);
}

const ownHow = () => HOW[localStorage.getItem('unreel-how')] && localStorage.getItem('unreel-how');

function write(text) {
  $('prompt').value = text;
  grow();
  checkLength();
  $('prompt').focus();
}

/* The box is as high as its text, within limits. */
function grow() {
  const box = $('prompt');
  box.style.height = 'auto';
  box.style.height = `${Math.min(box.scrollHeight + 2, innerHeight * 0.4)}px`;
}

function checkLength() {
  const bytes = new TextEncoder().encode($('prompt').value).length;
  const over = bytes > page.promptMax;
  $('prompt-note').hidden = bytes < page.promptMax * 0.9;
  $('prompt-note').textContent = over ? `Too long by ${bytes - page.promptMax} bytes.` : `${page.promptMax - bytes} bytes left.`;
  $('prompt').setAttribute('aria-invalid', String(over));
  return !over;
}

async function sendPrompt(text) {
  const how = chosenHow();
  await ask('prompt', { prompt: text, how });
  toast(`Sent: ${how} at the next chunk`, 'good');
}

$('composer').onsubmit = async event => {
  event.preventDefault();
  const text = $('prompt').value.trim();
  if (!text || !checkLength()) { $('prompt').focus(); return; }
  try {
    await sendPrompt(text);
    $('prompt').value = '';
    grow();
    checkLength();
  } catch { /* said already; the text stays */ }
};

$('quick').onsubmit = async event => {
  event.preventDefault();
  const text = $('quick-text').value.trim();
  if (!text) return;
  try {
    await sendPrompt(text);
    $('quick-text').value = '';
  } catch { /* said already */ }
};

$('prompt').oninput = () => { grow(); checkLength(); };
$('prompt').onkeydown = event => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $('composer').requestSubmit();
  }
};
for (const radio of document.querySelectorAll('input[name=how]')) radio.onchange = () => choose(radio.value);

$('seed-form').onsubmit = event => {
  event.preventDefault();
  $('seed').blur();
  ask('seed', { seed: $('seed').value.trim() }).then(() => toast('New seed from the next chunk on', 'good'), () => {});
};
$('dice').onclick = () => {
  $('seed').value = crypto.getRandomValues(new Uint32Array(1))[0];
  $('seed-form').requestSubmit();
};

/* ---- transport --------------------------------------------------------------------------------- */

$('pause').onclick = () => ask('pause', { on: !page.state.paused }).catch(() => {});
$('reset').onclick = () => ask('reset').then(() => toast('The video begins anew', 'good'), () => {});
$('record').onclick = () => {
  const on = !page.state.recording;
  ask('record', { on }).then(answer => toast(on ? `Recording to ${answer.file}` : 'Recording complete', 'good'), () => {});
};

async function savePicture() {
  try {
    const response = await fetch('/api/picture', { headers: authorized() });
    if (!response.ok) throw new Error((await response.json()).error);
    const link = document.createElement('a');
    link.href = URL.createObjectURL(await response.blob());
    link.download = `unreel-${new Date().toISOString().slice(0, 19).replace(/[:T]/g, '-')}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    toast('Picture saved', 'good');
  } catch (error) {
    toast(sentence(error.message), 'bad');
  }
}
$('save').onclick = savePicture;

function fullScreen() {
  const stage = $('stage'), video = $('video');
  if (document.fullscreenElement) document.exitFullscreen();
  else if (stage.requestFullscreen) stage.requestFullscreen().catch(error => toast(sentence(error.message), 'bad'));
  else if (video.webkitEnterFullscreen) video.webkitEnterFullscreen(); /* iPhone */
}
$('full').onclick = fullScreen;
$('video').ondblclick = fullScreen;

$('wheel-button').onclick = () => {
  if (page.maySteer) {
    ask('claim', { on: true }).catch(() => {});
  } else {
    page.denied = 'token';
    explain();
    $('token').focus();
  }
};
$('token-form').onsubmit = event => {
  event.preventDefault();
  token.value = $('token').value.trim();
  $('token').value = '';
  page.tokenTried = true;
  page.denied = false;
  page.trouble = ['connecting'];
  explain();
  if (control.socket) control.socket.close();
  else control.connect();
};
$('keys-button').onclick = () => $('keys').showModal();

/* ---- keyboard ---------------------------------------------------------------------------------- */

const KEYS = {
  ' ': () => $('pause').click(),
  r: () => $('reset').click(),
  c: () => $('record').click(),
  s: () => $('save').click(),
  f: fullScreen,
  '/': () => (document.fullscreenElement ? $('quick-text') : $('prompt')).focus(),
  1: () => choose('blend'),
  2: () => choose('recache'),
  3: () => choose('cut'),
  '?': () => $('keys').showModal(),
};
addEventListener('keydown', event => {
  const typing = event.target.closest('input, textarea, dialog') && event.target.type !== 'radio';
  if (event.key === 'Escape' && typing) event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === ' ' && event.target.closest('button, input')) return; /* presses that one */
  const run = KEYS[event.key.toLowerCase()];
  if (!run) return;
  event.preventDefault();
  run();
});

/* The prompt line of the full screen goes away with the pointer. */
let idle;
for (const name of ['pointermove', 'pointerdown', 'keydown', 'focusin']) {
  $('stage').addEventListener(name, () => {
    $('stage').classList.remove('idle');
    clearTimeout(idle);
    idle = setTimeout(() => document.activeElement !== $('quick-text') && $('stage').classList.add('idle'), 2500);
  });
}

/* ---- start ------------------------------------------------------------------------------------- */

const control = new Control({
  state: showState,
  hello: message => {
    page.promptMax = message.prompt_max;
    if (!player.pc || message.run !== page.run) player.start(); /* a server that was started anew */
    page.run = message.run;
  },
  open: () => {
    page.serverGone = page.denied = false;
    explain();
  },
  closed: () => {
    page.serverGone = true;
    showWheel();
    explain();
  },
  denied: (code, error) => {
    if (code === 401 && page.tokenTried) toast('That is not the token.', 'bad');
    page.tokenTried = false;
    if (code < 500) page.denied = code === 401 ? 'token' : error;
    explain();
  },
  error: text => toast(sentence(text), 'bad'),
});
const player = new Player($('video'), control, {
  playing: () => { page.trouble = ['playing']; explain(); },
  trouble: (...what) => { page.trouble = what; explain(); },
});
addEventListener('online', () => control.connected || control.connect());
setInterval(() => player.playing && !page.serverGone && !page.denied && playingStatus(), 1000);
showHow(ownHow() || 'blend');
showWheel();
control.connect();
