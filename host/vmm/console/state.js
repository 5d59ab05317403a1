// What the console knows, and who draws it again when that changes.

/// Everything that is shown. VMs keep their configuration from the last full answer; `vms` is null until
/// the first.
export const state = {
  vms: null,
  portMapping: false,
  meta: null,
  version: null,
  images: null,
  gpus: null,
  // Why the last answer did not come, and when the last one that did came (Unix ms).
  problem: null,
  answered: 0,
  signedOut: false,
  dialog: null,
  // VMs of which something was just asked, by id.
  busy: new Set(),
  failed: null,
  keyword: '',
  only: '',
};

let draw = () => {};
let waiting = false;

/// Names the function that draws; called once at the start.
export function drawnBy(f) { draw = f; }

/// Draws soon, once for however many changes. Not by animation frame: a hidden tab has none.
export function changed() {
  if (waiting) return;
  waiting = true;
  setTimeout(() => { waiting = false; draw(); }, 0);
}

/// Says something to those who cannot see it.
export function say(text) {
  const live = document.getElementById('live');
  // The same words twice are news twice.
  live.textContent = live.textContent === text ? `${text}\u00a0` : text;
}

/// Goes to another view.
export function go(hash) { window.location.hash = hash; }
