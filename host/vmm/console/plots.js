// How busy a VM is: sampled while somebody looks, the last ten minutes drawn.
import { h } from './dom.js';
import { guest } from './api.js';
import { changed } from './state.js';
import { clock, size } from './text.js';

const EVERY = 4000;
const SPAN = 10 * 60 * 1000;
// A longer silence is a gap in the line, not a slope.
const GAP = 3 * EVERY;
const [WIDTH, HEIGHT] = [300, 72];

const samples = new Map();
const answers = new Map();
let timer = null;
let watched = null;

async function sample(id) {
  const now = Date.now();
  const answer = { error: null, system: answers.get(id)?.system || null, containers: answers.get(id)?.containers || null };
  try {
    const [system, containers] = await Promise.all([guest('SysInfo', id), guest('ListContainers', id).catch((error) => ({ error: error.message }))]);
    answer.system = system;
    answer.containers = containers;
    const disk = system.disks.reduce((sum, one) => ({ used: sum.used + one.total_size - one.free_size, total: sum.total + one.total_size }), { used: 0, total: 0 });
    const kept = (samples.get(id) || []).filter((one) => now - one.at < SPAN);
    kept.push({
      at: now, load: system.loadavg_one / 100, cpus: system.num_cpus, used: system.used_memory, total: system.total_memory, disk: disk.used, diskTotal: disk.total,
    });
    samples.set(id, kept);
  } catch (error) {
    answer.error = error.message;
  }
  answers.set(id, answer);
}

/// Samples this VM from now on, and no other; null stops.
export function watch(id) {
  if (id === watched) return;
  watched = id;
  clearTimeout(timer);
  const round = async () => {
    if (!document.hidden) {
      await sample(id);
      changed();
    }
    if (watched === id) timer = setTimeout(round, EVERY);
  };
  if (id !== null) round();
}

/// What the guest said last: `{error, system, containers}`; undefined before the first answer.
export const lastAnswer = (id) => answers.get(id);

function plot(key, label, points, share, said) {
  const now = Date.now();
  const x = (at) => WIDTH * (1 - (now - at) / SPAN);
  const y = (value) => HEIGHT - 2 - (HEIGHT - 4) * Math.min(1, Math.max(0, value));
  const runs = [];
  points.forEach((point, i) => {
    if (i === 0 || point.at - points[i - 1].at > GAP) runs.push([]);
    runs[runs.length - 1].push(`${x(point.at).toFixed(1)},${y(share(point)).toFixed(1)}`);
  });
  const last = points[points.length - 1];
  return h('figure', { class: 'plot', key },
    h('figcaption', {}, h('span', { class: 'label' }, label), h('span', { class: 'now' }, last ? said(last) : 'no sample yet')),
    h('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `${label}, last ten minutes; now ${last ? said(last) : 'unknown'}` },
      [0, 0.5, 1].map((at) => h('line', { class: 'grid', key: `grid ${at}`, x1: 0, x2: WIDTH, y1: y(at), y2: y(at) })),
      runs.map((run, i) => {
        const [from, to] = [run[0].split(',')[0], run[run.length - 1].split(',')[0]];
        return h('g', { key: `run ${i}` },
          h('path', { class: 'area', d: `M${from},${HEIGHT} L${run.join(' L')} L${to},${HEIGHT} Z` }),
          // One sample alone is a short stroke.
          h('polyline', { class: 'line', points: run.length > 1 ? run.join(' ') : `${(from - 2).toFixed(1)},${run[0].split(',')[1]} ${run[0]}` }));
      })));
}

/// The plots of a VM; while it boots, no answer is no news.
export function plots(id, booting) {
  const now = Date.now();
  const points = (samples.get(id) || []).filter((one) => now - one.at < SPAN);
  const answer = answers.get(id);
  if (points.length === 0 && booting) return h('p', { class: 'empty' }, 'Drawn once the guest has booted.');
  if (points.length === 0) {
    return h('p', { class: 'empty' }, answer?.error ? ['The guest does not answer: ', h('span', { class: 'said' }, answer.error)] : 'Waiting for the guest\u2019s first answer.');
  }
  const last = points[points.length - 1];
  const percent = (part, whole) => `${Math.round((100 * part) / Math.max(1, whole))} %`;
  return [
    h('div', { class: 'plots' },
      plot('load', 'CPU load', points, (one) => one.load / Math.max(1, one.cpus), (one) => `${one.load.toFixed(2)} of ${one.cpus}`),
      plot('memory', 'Memory', points, (one) => one.used / Math.max(1, one.total), (one) => `${size(one.used)} of ${size(one.total)}, ${percent(one.used, one.total)}`),
      plot('disk', 'Disk', points, (one) => one.disk / Math.max(1, one.diskTotal), (one) => `${size(one.disk)} of ${size(one.diskTotal)}, ${percent(one.disk, one.diskTotal)}`)),
    h('p', { class: 'note' }, `Ten minutes, sampled every ${EVERY / 1000} s while this page is open. `, answer?.error ? `Out of date since ${clock(last.at)}: ${answer.error}` : ''),
  ];
}
