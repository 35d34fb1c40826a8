// What the buttons do. There is nothing to load: the page works wherever its server runs.
'use strict';

const $ = id => document.getElementById(id);
const seconds = ms => `${(ms / 1000).toFixed(2)} s`;

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// Shows texts and elements, in place of what was shown before.
const show = (id, ...parts) => $(id).replaceChildren(...parts);

// A button that cannot be pressed again until what it began is over.
function onPress(id, action) {
  $(id).addEventListener('click', async () => {
    $(id).disabled = true;
    try { await action(); } finally { $(id).disabled = false; }
  });
}

// The counters that are shown, and how.
const count = n => n.toLocaleString('en');
const size = n => (n < 1 << 20 ? `${(n / 1024).toFixed(1)} KiB` : `${(n / (1 << 20)).toFixed(1)} MiB`);
const time = s => [s / 3600, s / 60 % 60, s % 60].map(part => String(Math.floor(part)).padStart(2, '0')).join(':');
const METRICS = {
  completed_requests: count, active_requests: count, cancelled_requests: count, failed_requests: count,
  open_connections: count, busy_workers: count, idle_workers: count, bytes_in: size, bytes_out: size, uptime: time,
};

// Once a second while somebody looks.
async function refreshMetrics() {
  if (document.hidden) return;
  try {
    const metrics = await (await fetch('/metrics')).json();
    show('metrics', ...Object.entries(METRICS).map(([name, shown]) => {
      const tile = element('div');
      tile.append(element('dt', name.replaceAll('_', ' ')), element('dd', shown(metrics[name])));
      return tile;
    }));
    pulse('alive', 'the application answers');
  } catch {
    pulse('gone', 'the application has stopped');
  }
}

function pulse(state, text) {
  if ($('pulse').dataset.state === state) return;
  $('pulse').dataset.state = state;
  show('pulse-text', text);
}

refreshMetrics();
setInterval(refreshMetrics, 1000);

// The stream.
let events = null;

$('stream-start').addEventListener('click', () => {
  const begin = performance.now();
  let n = 0;
  show('stream-ticks');
  show('stream-result', 'Connecting …');
  $('stream-start').disabled = true;
  $('stream-stop').disabled = false;
  events = new EventSource('/events');
  events.onmessage = event => {
    n += 1;
    if (n > 60) $('stream-ticks').firstChild.remove();
    $('stream-ticks').append(element('i'));
    const after = seconds(performance.now() - begin);
    show('stream-result', 'Event ', element('strong', event.data), ` came after ${after}.`);
  };
  events.onerror = () => stopStream('The stream has ended.');
});

function stopStream(text) {
  events.close();
  $('stream-start').disabled = false;
  $('stream-stop').disabled = true;
  show('stream-result', text);
}

$('stream-stop').addEventListener('click', () => stopStream('Stopped, and the handler was told.'));

// The upload.
const hex = buffer => [...new Uint8Array(buffer)].map(byte => byte.toString(16).padStart(2, '0')).join('');

// Browsers do this only on pages that came safely: from this machine, or over HTTPS.
async function ownDigest(blob) {
  return crypto.subtle ? hex(await crypto.subtle.digest('SHA-256', await blob.arrayBuffer())) : null;
}

// `fetch` does not tell how much has been sent.
function send(blob) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', '/digest');
    request.responseType = 'json';
    request.upload.onprogress = event => { $('upload-progress').value = event.loaded / event.total; };
    request.onload = () => (request.status === 200 ? resolve(request.response) : reject(new Error(request.status)));
    request.onerror = () => reject(new Error('the connection was lost'));
    request.send(blob);
  });
}

async function upload(blob) {
  const begin = performance.now();
  $('upload-progress').value = 0;
  show('upload-result');
  try {
    const [answer, own] = await Promise.all([send(blob), ownDigest(blob)]);
    const sent = `${answer.length.toLocaleString('en')} bytes in ${seconds(performance.now() - begin)}: `;
    const verdict = own === null ? ['', 'a browser computes digests only on safe pages']
      : own === answer.sha256 ? ['good', 'the digests are the same'] : ['bad', 'the digests differ'];
    show('upload-result', element('dt', 'The handler says'), element('dd', answer.sha256),
      element('dt', 'Your browser says'), element('dd', own ?? 'nothing'), element('p', sent + verdict[1], verdict[0]));
  } catch (error) {
    show('upload-result', element('p', `The upload failed: ${error.message}.`, 'bad'));
  }
}

function randomBytes(length) {
  const bytes = new Uint8Array(length);
  // The most that may be asked for at once.
  for (let at = 0; at < length; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
  return new Blob([bytes]);
}

onPress('upload-random', () => upload(randomBytes(8 << 20)));
$('upload-file').addEventListener('change', event => {
  const [file] = event.target.files;
  if (file) upload(file);
});

// The request that is left.
let leaving = null;

const cancellations = async () => (await fetch('/cancellations')).json();

onPress('cancel-start', async () => {
  const before = (await cancellations()).count;
  leaving = new AbortController();
  $('cancel-abort').disabled = false;
  show('cancel-result', 'The handler waits …');
  try {
    const answer = await (await fetch('/wait-abort', { signal: leaving.signal })).text();
    show('cancel-result', `The handler waited to the end: ${answer}`);
  } catch {
    await showCancellation(before);
  }
  $('cancel-abort').disabled = true;
});

$('cancel-abort').addEventListener('click', () => leaving.abort());

// It takes a moment until the handler knows.
async function showCancellation(before) {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const now = await cancellations();
    if (now.count > before) {
      show('cancel-count', now.count);
      show('cancel-result', 'The handler was told ', element('strong', now.reason, 'good'),
        ` after ${seconds(now.waited_ms)}.`);
      return;
    }
    await new Promise(resolve => setTimeout(resolve, 50));
  }
  const doubt = 'The handler was not told in time: does the web server watch its clients?';
  show('cancel-result', element('span', doubt, 'bad'));
}

// Requests side by side.
onPress('parallel-start', async () => {
  const n = 4;
  const bars = Array.from({ length: n }, () => element('i'));
  show('parallel-bars', ...bars);
  show('parallel-result', 'Waiting …');
  const begin = performance.now();
  requestAnimationFrame(() => bars.forEach(bar => bar.classList.add('run')));
  // Else a browser that may cache them asks one after the other.
  const ask = async i => (await fetch(`/sleep?ms=1000&n=${i}`, { cache: 'no-store' })).text();
  await Promise.all(bars.map((_, i) => ask(i)));
  show('parallel-result', `${n} seconds of waiting in `, element('strong', seconds(performance.now() - begin)), '.');
});

// Panics.
async function isAlive() {
  const answer = await fetch('/hello');
  return element('span', ` The next request: ${answer.status}, “${(await answer.text()).trim()}”.`, 'good');
}

onPress('panic-early', async () => {
  const answer = await fetch('/panic');
  const status = element('strong', `${answer.status} ${answer.statusText}`);
  show('panic-result', 'The answer: ', status, '.', await isAlive());
});

onPress('panic-late', async () => {
  const answer = await fetch('/panic-late');
  const end = await answer.text().then(() => 'looks whole, which it is not', error => `broke off: ${error.message}`);
  show('panic-result', `The answer began with ${answer.status} and ${end}.`, await isAlive());
});

// Statuses.
onPress('status-ask', async () => {
  const answer = await fetch(`/status/${$('status-code').value}`, { cache: 'no-store' });
  const length = (await answer.arrayBuffer()).byteLength;
  const status = element('strong', `${answer.status} ${answer.statusText}`);
  show('status-result', status, `, with a body of ${length} bytes.`);
});

// The request as the handler sees it.
onPress('request-show', async () => {
  const variables = await (await fetch('/env?hello=world')).json();
  const table = element('table');
  for (const [name, value] of Object.entries(variables)) {
    const row = table.insertRow();
    row.append(element('th', name), element('td', value));
  }
  show('request-result', table);
});

cancellations().then(now => show('cancel-count', now.count));
